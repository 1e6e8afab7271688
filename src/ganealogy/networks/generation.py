"""Pictures from a generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ganealogy.images import Pictures, to_uint8

BATCH = 100


@torch.inference_mode()
def generate(generator: nn.Module, z: torch.Tensor) -> Pictures:
    """Latents (N, d) → uint8 (N, H, W, C), in evaluation mode and in fixed batches: memory does not grow with N."""
    device = next(generator.parameters()).device
    training = generator.training
    generator.eval()
    try:
        return np.concatenate([to_uint8(generator(part.to(device))) for part in torch.split(z, BATCH)])
    finally:
        generator.train(training)
