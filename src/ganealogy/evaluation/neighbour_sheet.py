"""Samples beside their nearest training pictures: what copying would look like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganealogy.evaluation.metrics.neighbours import Indices
from ganealogy.files.images import Pictures, grid

SAMPLES = 8
TILE = 64
"""Smaller pictures are enlarged to about this many pixels."""
GAP = 8
"""Pixels between a sample and its neighbours."""


def neighbour_sheet(samples: Pictures, train: Pictures, nearest: Indices) -> Image.Image:
    """A row a sample, (8 or fewer) × (1 + k): the sample, a gap, then its `nearest` (n, k) rows of `train`."""
    shown = min(SAMPLES, len(samples))
    neighbours = np.stack([np.asarray(train[row]) for row in nearest[:shown].ravel()])
    left, right = grid(_enlarged(samples[:shown]), 1), grid(_enlarged(neighbours), nearest.shape[1])
    sheet = Image.new(left.mode, (left.width + GAP + right.width, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    return sheet


def _enlarged(pictures: NDArray[np.uint8]) -> Pictures:
    times = max(1, round(TILE / pictures.shape[1]))
    return pictures.repeat(times, axis=1).repeat(times, axis=2)
