"""Sliced Wasserstein distance of patches of a Laplacian pyramid (Karras et al., arXiv 1710.10196, section 5).

Per level: 7 × 7 patches, normalised per channel over each set, projected on random directions; the mean distance
between the sorted projections, times 1000 as in the paper. The result is the mean over levels. No network.

n images of H × W pixels and C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

PATCH, SMALLEST = 7, 8
"""Sides of a patch and of the smallest level, in pixels."""
PATCHES, DIRECTIONS, SEED = 16, 128, 2018
"""Per image, and per level. The paper has 128 and 512, on 16,384 images."""
TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16
Images = NDArray[np.float32]


def sliced_wasserstein(fakes: NDArray[np.generic], reals: NDArray[np.generic]) -> float:
    """Return the distance of two sets of pictures (n, C, H, W), of as many pictures of each as the smaller one has.

    Raises: GanealogyError for pictures below 8 pixels or fewer than two of them.
    """
    count, size = min(len(fakes), len(reals)), min(fakes.shape[2:])
    if size < SMALLEST or count < 2:
        raise GanealogyError(f"needs two pictures per side of at least {SMALLEST} pixels, got {count} of {size}")
    rng = np.random.default_rng(SEED)
    distances = []
    for level_a, level_b in zip(*(laplacian_pyramid(side[:count]) for side in (fakes, reals)), strict=True):
        positions = rng.integers(0, level_a.shape[-1] - PATCH + 1, (2, count, PATCHES))
        directions = rng.standard_normal((level_a.shape[1] * PATCH**2, DIRECTIONS), np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        a, b = (np.sort(_patches(level, positions) @ directions, axis=0) for level in (level_a, level_b))
        distances.append(np.abs(a - b).mean())
    return 1000 * float(np.mean(distances))


def laplacian_pyramid(images: NDArray[np.generic]) -> list[Images]:
    """(n, C, H, W) → the differences between levels, from fine to coarse, and the coarsest level itself.

    Levels are halved while the side is even and the next one has at least 8 pixels.
    """
    level = images.astype(np.float32)
    pyramid = []
    while level.shape[-1] % 2 == 0 and level.shape[-1] >= 2 * SMALLEST and level.shape[-1] == level.shape[-2]:
        half = _blurred(_blurred(level, 2), 3)[:, :, ::2, ::2]
        spread = np.zeros_like(level)
        spread[:, :, ::2, ::2] = 4 * half
        pyramid.append(level - _blurred(_blurred(spread, 2), 3))
        level = half
    return [*pyramid, level]


def _blurred(x: Images, axis: int) -> Images:
    """Convolve with [1 4 6 4 1]/16 along an axis; the border is mirrored, without repeating its pixel."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (2, 2)
    padded = np.pad(x, padding, mode="reflect")
    size = x.shape[axis]
    return sum(
        (tap * padded.take(range(shift, shift + size), axis) for shift, tap in enumerate(TAPS)), np.zeros_like(x)
    )


def _patches(level: Images, positions: NDArray[np.int64]) -> Images:
    """(n, C, H, W), (2, n, patches) → (n × patches, C × 49), each channel with mean 0 and deviation 1 over the set."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(2, 3))  # (n, C, H-6, W-6, 7, 7)
    rows, columns = positions
    picked = windows[np.arange(len(level))[:, None], :, rows, columns]  # (n, patches, C, 7, 7)
    centred = picked - picked.mean(axis=(0, 1, 3, 4), keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=(0, 1, 3, 4), keepdims=True))
    normal = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    return np.asarray(normal.reshape(-1, normal[0, 0].size), np.float32)
