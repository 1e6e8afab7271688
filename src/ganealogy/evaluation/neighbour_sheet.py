"""Draw samples beside their nearest training pictures, to show whether they are copies."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ganealogy.evaluation.metrics.neighbours import Indices
from ganealogy.files.images import Pictures, grid

SAMPLES = 8
GAP = 8
"""Pixels between a sample and its neighbours."""


def neighbour_sheet(samples: Pictures, train: Pictures, nearest: Indices) -> Image.Image:
    """Return one row per sample, 8 at most: the sample, a gap, and its `nearest` (n, k) rows of `train`."""
    count = min(SAMPLES, len(samples))
    neighbours = np.stack([np.asarray(train[row]) for row in nearest[:count].ravel()])
    left, right = grid(samples[:count], 1), grid(neighbours, nearest.shape[1])
    sheet = Image.new(left.mode, (left.width + GAP + right.width, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    return sheet
