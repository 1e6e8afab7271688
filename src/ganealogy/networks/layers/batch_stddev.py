"""Minibatch standard deviation: D sees how much a batch varies, so a collapsed G is easy to tell."""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.runtime import distributed


class BatchStddev(nn.Module):
    """Adds one channel holding one number: the standard deviation over the batch, averaged over all features and
    places (Karras et al., arXiv 1710.10196, section 3)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, C + 1, H, W)."""
        variance = distributed.all_gather(features).var(dim=0, unbiased=False)
        deviation = (variance + 1e-8).sqrt().mean()  # the square root of an exact 0 has no gradient
        return torch.cat([features, deviation.expand(len(features), 1, *features.shape[2:])], dim=1)
