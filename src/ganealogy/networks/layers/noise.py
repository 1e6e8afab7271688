"""Noise injection: one noise value per place, added to all channels (Karras et al., arXiv 1812.04948, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn


class Noise(nn.Module):
    """Add noise of learned strength, initially 0: fresh noise in training mode, a fixed map in evaluation mode.

    With the fixed map, an image is a function of its latent, and features have the variance that training had.
    """

    fixed: torch.Tensor
    """(1, 1, H, W), drawn with the initial weights."""

    def __init__(self, side: int) -> None:
        """`side`: of the feature map, in pixels."""
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("fixed", torch.randn(1, 1, side, side))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        return features + self.strength * (torch.randn_like(features[:, :1]) if self.training else self.fixed)
