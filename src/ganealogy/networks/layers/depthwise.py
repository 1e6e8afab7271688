"""How a convolution of each channel by itself is done, by kind of device.

On a GPU, one in channels_last is left to cuDNN, which can be many times slower in fp32 than a few plain operations
(pytorch#18631, #47341). Each place that has one therefore has an exact replacement too, in value and in derivatives of
first and second order, and asks here which to use. On a CPU the convolution is the faster.
"""

from __future__ import annotations

import torch

REPLACED: frozenset[str] = frozenset()
"""Kinds of device whose depthwise convolutions are replaced. Empty until a card has shown that it pays:
`benchmarks/gpu_day/probe.py` times both."""


def is_replaced(features: torch.Tensor) -> bool:
    """Return whether these features (N, C, H, W) should pass through the replacement."""
    return features.device.type in REPLACED
