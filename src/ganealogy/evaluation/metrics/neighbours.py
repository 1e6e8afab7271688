"""Nearest neighbours among features, computed in tiles: the matrix of all pairs is never held in memory.

Distances are Euclidean, from |x|² + |y|² − 2 x·y around a common centre, in float64: float32 would lose near neighbours
to rounding. Squared distances below the rounding error count as 0, so that an image is at distance 0 from itself and
from its copies. Features may be of any float type; they are converted on the device, those of `b` block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]
Indices = NDArray[np.int64]
TileCallback = Callable[[slice, slice, Tensor], None]
"""Takes a tile as `squared_distances` yields it."""
TILE_SIDES = {"cpu": 1024, "cuda": 4096}
"""Rows and columns of a tile per kind of device. CPU: 8 MB, most of which fits in the cache. GPU: 134 MB, which takes
longer to compute than to launch. Three or four tiles are in memory at once."""
ALIGNED = 16
"""Every tile's side is a multiple of this: BLAS is slower at odd sizes."""
ROUNDING = 1e-12
"""Fraction of |x|² + |y|² below which a squared distance counts as 0."""


def to_device(values: NDArray[Any], device: str) -> Tensor:
    """Copy the array to the device; on a CPU, share its memory."""
    return torch.from_numpy(np.require(values, requirements=["C", "W"])).to(device)


def blocks(count: int, device: str) -> list[slice]:
    """Split 0..count (>= 1) into as few slices as the tile's side allows, all but the last of equal length."""
    pieces = -(-count // TILE_SIDES[torch.device(device).type])
    length = -(-count // (pieces * ALIGNED)) * ALIGNED
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def squared_distances(
    a: NDArray[Any], b: NDArray[Any], device: str = "cpu", half: bool = False
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the squared distances from (n, d) to (m, d) tile by tile: rows of `a`, rows of `b`, distances.

    Tiles of the same rows of `a` come in the order of `b`. `half`: skip the tiles below the diagonal; for `a` equal to
    `b`, where they repeat the pairs above it.
    """
    points = to_device(b, device)
    blocks_a, blocks_b = blocks(len(a), device), blocks(len(b), device)
    centre = torch.stack([points[columns].double().sum(dim=0) for columns in blocks_b]).sum(dim=0) / len(b)
    queries = to_device(a, device).double() - centre
    query_squares = _squared_lengths(queries)
    queries *= -2
    for columns in blocks_b:
        centred = points[columns].double() - centre
        column_squares = _squared_lengths(centred)
        for rows in blocks_a:
            if half and columns.start < rows.start:
                continue
            scale = query_squares[rows, None] + column_squares
            squares = (queries[rows] @ centred.T).add_(scale)
            yield rows, columns, squares.masked_fill_(squares < scale.mul_(ROUNDING), 0)


def nearest(
    queries: NDArray[Any], points: NDArray[Any], k: int, device: str = "cpu", on_tile: TileCallback | None = None
) -> tuple[Indices, Matrix]:
    """Return the k nearest of (m >= k, d) for each of (n, d): indices and distances, both (n, k).

    Nearest first. Equal distances come in index order; those of copies may differ by rounding, because the matrix
    products of some processors sum in an order that depends on the column. `on_tile` is called with every tile of
    squared distances, for callers that need all distances too.
    """
    squares = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=device)
    indices = torch.zeros((len(queries), k), dtype=torch.int64, device=device)
    for rows, columns, tile in squared_distances(queries, points, device):
        if on_tile is not None:
            on_tile(rows, columns, tile)
        values, tile_indices = _k_smallest_stable(tile, k)
        values = torch.cat([squares[rows], values], dim=1)
        candidates = torch.cat([indices[rows], tile_indices + columns.start], dim=1)
        values, order = values.sort(dim=1, stable=True)  # stable: earlier tiles come first among ties
        squares[rows], indices[rows] = values[:, :k], candidates.gather(1, order[:, :k])
    return indices.cpu().numpy(), squares.sqrt().cpu().numpy()


def squared_radii(points: NDArray[Any], k: int, device: str = "cpu") -> Matrix:
    """Return the squared distance of each of (n > k, d) to its k-th nearest other: (n,)."""
    return squared_spacings(points, k, device)[:, -1]


def squared_spacings(points: NDArray[Any], k: int, device: str = "cpu") -> Matrix:
    """Return the squared distances of each of (n > k, d) to its k nearest others, ascending: (n, k)."""
    smallest = torch.full((len(points), k + 1), torch.inf, dtype=torch.float64, device=device)
    for rows, columns, tile in squared_distances(points, points, device, half=True):
        smallest[rows] = _merge_smallest(smallest[rows], tile)
        if columns != rows:
            smallest[columns] = _merge_smallest(smallest[columns], tile.T.contiguous())
    return smallest[:, 1:].cpu().numpy()  # column 0 is each point's distance to itself


def _squared_lengths(rows: Tensor) -> Tensor:
    """(n, d) → (n,), without a squared copy of the rows."""
    return torch.linalg.vector_norm(rows, dim=1).square()


def _k_smallest_stable(tile: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest values of each row and their columns. Ties in column order, which topk does not promise.

    Overwrites `tile`.
    """
    minima = []
    for _ in range(min(k, tile.shape[1])):
        value, column = tile.min(dim=1, keepdim=True)
        tile.scatter_(1, column, torch.inf)
        minima.append((value, column))
    values, columns = zip(*minima, strict=True)
    return torch.cat(values, dim=1), torch.cat(columns, dim=1)


def _merge_smallest(smallest: Tensor, tile: Tensor) -> Tensor:
    """Return the k smallest of `smallest` (n, k) and `tile` (n, m) in each row, ascending: (n, k)."""
    k = smallest.shape[1]
    candidates = tile.topk(min(k, tile.shape[1]), largest=False).values
    return torch.cat([smallest, candidates], dim=1).topk(k, largest=False).values
