"""Minibatch standard deviation, by which D detects a collapsed G (Karras et al., arXiv 1710.10196, section 3)."""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.runtime import distributed


class BatchStddev(nn.Module):
    """Append a constant channel: the standard deviation over the batch, averaged over features and places."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, C + 1, H, W)."""
        variance = distributed.all_gather(features).var(dim=0, unbiased=False)
        deviation = (variance + 1e-8).sqrt().mean()  # the square root has no gradient at 0
        return torch.cat([features, deviation.expand(len(features), 1, *features.shape[2:])], dim=1)
