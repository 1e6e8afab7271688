"""Self-attention over a feature map: every place may look at every other (Zhang et al., arXiv 1805.08318).

Shapes: N images, C channels, L = H x W places.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class SelfAttention(nn.Module):
    """x → gate * o(x) + x, equations 1 to 3 with the paper's C/8 channels inside; the gate begins at 0.

    `wrap` is what every 1x1 convolution goes through: spectral norm where the network has it.
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
        # Written out: torch's fused attention cannot be differentiated twice, and penalties do that.
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (N, L, L): row i is what place i looks at
        attended = value @ weights.transpose(1, 2)  # (N, C/8, L)
        result: torch.Tensor = features + self.gate * self.output(attended.unflatten(2, features.shape[2:]))
        return result
