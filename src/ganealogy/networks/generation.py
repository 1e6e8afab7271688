"""Pictures from a generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ganealogy.images import Pictures, to_uint8

BATCH = 100


@torch.inference_mode()
def generate(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor | None = None) -> Pictures:
    """Latents (N, d) → uint8 (N, H, W, C), in evaluation mode and in fixed batches: memory does not grow with N.

    `labels` (N,): of a class-conditional generator; without them, the classes take turns.
    """
    device = next(generator.parameters()).device
    classes = getattr(generator, "classes", 0)
    if classes and labels is None:
        labels = torch.arange(len(z)) % classes
    training = generator.training
    generator.eval()
    pictures = []
    try:
        for start in range(0, len(z), BATCH):
            batch = slice(start, start + BATCH)
            inputs = [z[batch], labels[batch]] if classes and labels is not None else [z[batch]]
            pictures.append(to_uint8(generator(*(tensor.to(device) for tensor in inputs))))
        return np.concatenate(pictures)
    finally:
        generator.train(training)
