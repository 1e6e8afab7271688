"""Nearest neighbours among features, in blocks: no matrix of all pairs is ever held.

Distances are Euclidean and in float64, from |x|² + |y|² − 2 x·y about a common centre. What is below the rounding of
that sum counts as 0, so that an image is exactly as far from itself and from its copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Indices = NDArray[np.int64]
ROWS = 512
"""Rows of distances held at a time: 40 MB for 10,000 columns."""
ROUNDING = 1e-12
"""Share of |x|² + |y|² below which a squared distance is noise."""


def squared_distances(a: NDArray[Any], b: NDArray[Any]) -> Iterator[tuple[slice, Matrix]]:
    """Of (n, d) to (m, d), block by block: the rows of `a` that it is about, and their distances (rows, m)."""
    centre = b.mean(axis=0, dtype=np.float64)
    columns = b - centre
    column_squares = np.einsum("ij,ij->i", columns, columns)
    for start in range(0, len(a), ROWS):
        block = slice(start, min(start + ROWS, len(a)))
        rows = a[block] - centre
        scale = np.einsum("ij,ij->i", rows, rows)[:, None] + column_squares
        squares = rows @ columns.T
        squares *= -2
        squares += scale
        scale *= ROUNDING
        squares[squares < scale] = 0
        yield block, squares


def nearest(queries: NDArray[Any], among: NDArray[Any], k: int) -> tuple[Indices, Matrix]:
    """For each of (n, d) its k nearest of (m >= k, d), nearest first: indices and distances, both (n, k)."""
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k))
    for block, squares in squared_distances(queries, among):
        chosen = np.sort(np.argpartition(squares, k - 1, axis=1)[:, :k], axis=1)
        values = np.take_along_axis(squares, chosen, axis=1)
        order = np.argsort(values, axis=1, kind="stable")  # among equals the first comes first
        indices[block] = np.take_along_axis(chosen, order, axis=1)
        distances[block] = np.sqrt(np.take_along_axis(values, order, axis=1))
    return indices, distances


def squared_radii(points: NDArray[Any], k: int) -> Matrix:
    """(n > k, d) → (n,): squared distance of each to its k-th nearest other."""
    radii = np.empty(len(points))
    for block, squares in squared_distances(points, points):
        radii[block] = np.partition(squares, k, axis=1)[:, k]  # each is its own nearest
    return radii
