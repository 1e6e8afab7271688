"""Doubling and halving with the filter [1, 2, 1], which avoids aliasing (arXiv 2501.05441, section 4).

Doubling repeats every pixel and filters; halving filters and averages 2x2. Each is one convolution with a 4x4 kernel,
the outer product of [1, 2, 1] * [1, 1] = [1, 3, 3, 1] with itself; zeros beyond the border. As [1, 3, 3, 1] is [1, 1]
convolved three times, each also equals a few averages over 2x2 boxes. StyleGAN2 (arXiv 1912.04958) filters with
[1, 3, 3, 1] at full size, between a strided 3x3 convolution and its map.
"""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, pad

from ganealogy.networks.layers.depthwise import is_replaced

BORDER = (1, 1, 1, 1)


def double(features: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) → (N, C, 2H, 2W)."""
    return double_by_boxes(features) if is_replaced(features) else double_by_convolution(features)


def halve(features: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), H and W even → (N, C, H/2, W/2)."""
    return halve_by_boxes(features) if is_replaced(features) else halve_by_convolution(features)


def smooth(features: torch.Tensor, padding: int) -> torch.Tensor:
    """(N, C, H, W) → (N, C, H + 2 · padding - 3, W + 2 · padding - 3), by the filter [1, 3, 3, 1] alone."""
    return smooth_by_boxes(features, padding) if is_replaced(features) else smooth_by_convolution(features, padding)


def double_by_convolution(features: torch.Tensor) -> torch.Tensor:
    channels = features.shape[1]
    return conv_transpose2d(features, _kernel(channels, 4.0, features), stride=2, padding=1, groups=channels)


def halve_by_convolution(features: torch.Tensor) -> torch.Tensor:
    channels = features.shape[1]
    return conv2d(features, _kernel(channels, 1.0, features), stride=2, padding=1, groups=channels)


def smooth_by_convolution(features: torch.Tensor, padding: int) -> torch.Tensor:
    channels = features.shape[1]
    return conv2d(features, _kernel(channels, 1.0, features), padding=padding, groups=channels)


def double_by_boxes(features: torch.Tensor) -> torch.Tensor:
    repeated = pad(interpolate(features, scale_factor=2), BORDER)
    return avg_pool2d(avg_pool2d(repeated, 2, 1), 2, 1)


def halve_by_boxes(features: torch.Tensor) -> torch.Tensor:
    return avg_pool2d(avg_pool2d(avg_pool2d(pad(features, BORDER), 2, 1), 2, 1), 2, 2)


def smooth_by_boxes(features: torch.Tensor, padding: int) -> torch.Tensor:
    return avg_pool2d(avg_pool2d(avg_pool2d(pad(features, [padding] * 4), 2, 1), 2, 1), 2, 1)


def _kernel(channels: int, gain: float, like: torch.Tensor) -> torch.Tensor:
    # Computed on the device: a copy from the host would wait for the GPU's queue.
    taps = 4 - 2 * (torch.arange(4, dtype=like.dtype, device=like.device) - 1.5).abs()  # 1, 3, 3, 1: exact in any type
    return (torch.outer(taps, taps) * (gain / taps.sum() ** 2)).expand(channels, 1, 4, 4)
