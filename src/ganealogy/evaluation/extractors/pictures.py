"""The pixels themselves, for metrics that are computed from pictures instead of features: `swd`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ganealogy.record_types import MetricProtocol

TRACKS = False
"""It has no distance of its own for a training to track: its metric, `swd`, takes as long as the tick."""


class Pixels:
    name = "pictures"
    network = False
    pictures = True
    dimension = 32 * 32 * 3
    """For RGB at 32 pixels."""

    def __init__(self) -> None:
        self.protocol: MetricProtocol = {"weights_sha256": None, "resize": "none", "precision": "fp32"}

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, C) → (N, C H W), levels 0..255."""
        return images.transpose(0, 3, 1, 2).reshape(len(images), -1).astype(np.float32)


def unflatten(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C H H) → (N, C, H, H). Three times a square is never a square, so the number of channels is known."""
    side = math.isqrt(features.shape[1])
    if side**2 == features.shape[1]:
        return features.reshape(-1, 1, side, side)
    side = math.isqrt(features.shape[1] // 3)
    return features.reshape(-1, 3, side, side)


def load(device: str = "cpu") -> Pixels:
    """Return the extractor. `device` is ignored."""
    return Pixels()
