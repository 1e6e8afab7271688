"""Pictures from a generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ganealogy.files.images import Pictures, to_uint8
from ganealogy.runtime.precision import float32_as

BATCH = 100


def cycled_labels(generator: nn.Module, count: int) -> torch.Tensor:
    """Labels (count,) for pictures that nobody asked a class of: the classes take turns; zeros where there are none."""
    return torch.arange(count) % max(1, getattr(generator, "classes", 0))


def forward(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One batch of latents (N, d) → images (N, C, H, W), on the generator's device.

    `labels` (N,): a class-conditional generator's classes, which another kind does not look at.
    """
    device = next(generator.parameters()).device
    inputs = (z, labels) if getattr(generator, "classes", 0) else (z,)
    images: torch.Tensor = generator(*(tensor.to(device) for tensor in inputs))
    return images


@torch.inference_mode()
@float32_as("fp32")  # whatever it was trained in: what is measured should not depend on the device
def generate(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor | None = None) -> Pictures:
    """Latents (N, d) → uint8 (N, H, W, C), in evaluation mode and in fixed batches: memory does not grow with N.

    `labels` (N,) as for `draw`; without them the classes take turns.
    """
    labels = cycled_labels(generator, len(z)) if labels is None else labels
    training = generator.training
    generator.eval()
    try:
        parts = zip(torch.split(z, BATCH), torch.split(labels, BATCH), strict=True)
        return np.concatenate([to_uint8(forward(generator, *part)) for part in parts])
    finally:
        generator.train(training)
