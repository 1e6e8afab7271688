"""Where things are, and which edges are there: 8 × 8 means, and Haar's edge energies in 4 × 4 cells. No network.

Its distance, `fd_layout_edges_32_64`, is the larger of two whitened Fréchet distances (see metrics/whitened.py): of the
layout (32 components, differences below 4 grey levels unseen) and of the edges (64 components, 2 levels). About 0.05
are 500 held-out reals; 0.2, 0.5 and 0.9 are 100, 50 and 25 training pictures repeated; 1 is one picture repeated. The
components are few enough for 500 samples and many enough that no degraded set of docs/metrics.md which must lie behind
a trained generator lies ahead of it; 64 for the layout, or 32 or 128 for the edges, do not have both properties.

What fools it: copies of training pictures, 100 and more of them repeated, a tenth of the samples lost to one picture, a
Gaussian or ghosts of two pictures for anything trained briefly, faint fixed patterns, and missing or exchanged colours
where colours vary freely. It sees nothing finer than a quarter of the content: below about 0.1 use a network.

Sides that are no power of two, or below 16 pixels, are resized bilinearly to the next one (28 to 32).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganealogy.evaluation.metrics.whitened import Block
from ganealogy.record_types import MetricProtocol

LAYOUT_SIDE, EDGE_SIDE = 8, 4
"""Cells per side."""
SMALLEST = 16
MIN_FAKES = 500
"""With fewer, its bias is as large as the differences between versions."""
CHUNK = 512
"""Images converted to float at a time, to bound memory."""
Images = NDArray[np.float32]


class LayoutEdges:
    name = "layout_edges_32_64"
    network = False
    dimension = LAYOUT_SIDE**2 * 3 + 864
    """For RGB at 32 pixels; it depends on size and channels."""
    min_fakes = MIN_FAKES

    def __init__(self) -> None:
        self.protocol: MetricProtocol = {
            "weights_sha256": None,
            "resize": "bilinear to a power of two",
            "precision": "fp32",
            "features": "8x8 means k32 u4, Haar |c| and rms in 4x4 cells k64 u2; the larger distance",
        }

    def blocks(self, dimension: int) -> tuple[Block, ...]:
        """Return the blocks of that many features; 64 + 96 × scales of grey pictures is no multiple of three."""
        layout = LAYOUT_SIDE**2 * (1 if dimension % 3 else 3)
        return (
            Block("layout_32", slice(0, layout), 32, 4 / 255),
            Block("edges_64", slice(layout, dimension), 64, 2 / 255),
        )

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, C) → (N, 64 C + 96 C × scales), of levels 0..1."""
        parts = [_features(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
        return np.concatenate(parts)


def _features(images: NDArray[np.uint8]) -> Images:
    x = _resized(images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))  # (n, C, H, W)
    return np.concatenate([_cells(x, LAYOUT_SIDE), *_edges(x)], axis=1)


def _edges(x: Images) -> list[Images]:
    """Return mean |c| and root mean c² of Haar's three details in 4 × 4 cells, for each scale whose map has 4 or more.

    (n, C, H, W) → two arrays (n, 48 C) per scale.
    """
    energies = []
    while x.shape[-1] >= 2 * EDGE_SIDE:
        a, b, c, d = x[:, :, ::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2]
        details = np.concatenate([a - b + c - d, a + b - c - d, a - b - c + d], axis=1, dtype=np.float32) / 2
        energies += [_cells(np.abs(details), EDGE_SIDE), np.sqrt(_cells(np.square(details), EDGE_SIDE))]
        x = (a + b + c + d) / np.float32(4)
    return energies


def _cells(x: Images, side: int) -> Images:
    """(n, C, H, H) → (n, C side²): means of the cells."""
    n, channels, size, _ = x.shape
    cells = x.reshape(n, channels, side, size // side, side, size // side)
    return np.asarray(cells.mean(axis=(3, 5)).reshape(n, -1), np.float32)


def _resized(x: Images) -> Images:
    """(n, C, H, W) → (n, C, S, S), with S the next power of two that is at least 16."""
    size = max(SMALLEST, 2 ** (max(x.shape[2:]) - 1).bit_length())
    if x.shape[2:] == (size, size):
        return x
    import torch  # imported here: the usual sizes need no resize
    from torch.nn.functional import interpolate

    return np.asarray(interpolate(torch.from_numpy(x), (size, size), mode="bilinear", align_corners=False))


def load(device: str = "cpu") -> LayoutEdges:
    """Return the extractor. `device` is ignored: the work is too small for a GPU."""
    return LayoutEdges()
