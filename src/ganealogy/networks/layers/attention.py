"""Self-attention over the places of a feature map (Zhang et al., arXiv 1805.08318).

Shapes: N images, C channels, L = H x W places.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class SelfAttention(nn.Module):
    """x → gate · o(x) + x: equations 1 to 3 with C/8 channels inside, as in the paper; the initial gate is 0.

    `wrap` is applied to every 1x1 convolution, such as spectral norm.
    """

    def __init__(self, channels: int, wrap: Callable[[nn.Conv2d], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.query = wrap(nn.Conv2d(channels, inner, 1, bias=False))
        self.key = wrap(nn.Conv2d(channels, inner, 1, bias=False))
        self.value = wrap(nn.Conv2d(channels, inner, 1, bias=False))
        self.output = wrap(nn.Conv2d(inner, channels, 1, bias=False))
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        query, key, value = (layer(features).flatten(2) for layer in (self.query, self.key, self.value))  # (N, C/8, L)
        # Not torch's fused attention: it cannot be differentiated twice, as penalties require.
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (N, L, L): row i has the weights of place i
        attended = value @ weights.transpose(1, 2)  # (N, C/8, L)
        return features + self.gate * self.output(attended.unflatten(2, features.shape[2:]))
