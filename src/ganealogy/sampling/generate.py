"""Generate pictures in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ganealogy.files.images import Pictures, to_uint8
from ganealogy.runtime.precision import float32_as
from ganealogy.sampling.labels import proportional_labels

BATCH = 100


def cycled_labels(generator: nn.Module, count: int) -> torch.Tensor:
    """Return labels (count,) that show each class: 0, 1, …, K-1, 0, 1, …; zeros for an unconditional generator."""
    return torch.arange(count) % max(1, getattr(generator, "classes", 0))


def sample_labels(class_counts: Sequence[int] | None, count: int) -> torch.Tensor:
    """Return the labels (count,) of samples that are measured: see `proportional_labels`; zeros without classes."""
    return torch.from_numpy(proportional_labels(class_counts or [1], count))


def forward(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Latents (N, d) → images (N, C, H, W) in one batch, on the generator's device.

    `labels` (N,): ignored by an unconditional generator.
    """
    device = next(generator.parameters()).device
    inputs = (z, labels) if getattr(generator, "classes", 0) else (z,)
    return generator(*(tensor.to(device) for tensor in inputs))


@torch.inference_mode()
@float32_as("fp32")  # also if trained in another precision, so that samples do not depend on the device
def generate(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor | None = None) -> Pictures:
    """Latents (N, d) → uint8 (N, H, W, C), in evaluation mode and in batches of BATCH.

    `labels` (N,): `cycled_labels` by default.
    """
    labels = cycled_labels(generator, len(z)) if labels is None else labels
    training = generator.training
    generator.eval()
    try:
        parts = zip(torch.split(z, BATCH), torch.split(labels, BATCH), strict=True)
        return np.concatenate([to_uint8(forward(generator, *part)) for part in parts])
    finally:
        generator.train(training)
