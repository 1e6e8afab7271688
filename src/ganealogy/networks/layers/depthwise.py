"""Choose how depthwise convolutions are computed, per type of device.

On a GPU in channels_last and fp32, cuDNN can be many times slower than a few plain operations (pytorch#18631, #47341).
Layers with a depthwise convolution therefore have a replacement with the same values and first and second derivatives.
On a CPU the convolution is faster.
"""

from __future__ import annotations

import torch

REPLACED: frozenset[str] = frozenset()
"""Device types whose depthwise convolutions are replaced. Add one only if it is faster there:
`benchmarks/gpu_day/probe.py` times both."""


def is_replaced(features: torch.Tensor) -> bool:
    """Return whether to compute with the replacement on the device of these features (N, C, H, W)."""
    return features.device.type in REPLACED
