"""Nearest neighbours among features, tile by tile: no matrix of all pairs is ever held.

Distances are Euclidean, from |x|² + |y|² − 2 x·y about a common centre, and in float64 all the way: float32 would lose
near neighbours in the rounding of that sum. What is below it counts as 0, so that an image is exactly as far from
itself and from its copies. The features themselves may be float32; they are converted on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Matrix = NDArray[np.float64]
Indices = NDArray[np.int64]
Watch = Callable[[slice, slice, Tensor], None]
SIDES = {"cpu": 1024, "cuda": 4096}
"""Rows and columns of a tile, by kind of device: 8 MB, most of which stay in a processor's cache; 134 MB, which keep a
card busy for longer than it takes to ask for the next. Three or four of them are held at once."""
ALIGNED = 16
"""What every tile's side is a multiple of: BLAS is slower at odd ones."""
ROUNDING = 1e-12
"""Share of |x|² + |y|² below which a squared distance is noise."""


def resident(values: NDArray[Any], device: str) -> Tensor:
    """The array on the device; on a CPU its memory is shared."""
    return torch.from_numpy(np.require(values, requirements=["C", "W"])).to(device)


def blocks(count: int, device: str) -> list[slice]:
    """0..count (>= 1) in as few pieces as a tile's side allows, of one length but for the last."""
    pieces = -(-count // SIDES[torch.device(device).type])
    length = -(-count // (pieces * ALIGNED)) * ALIGNED
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def squared_distances(
    a: NDArray[Any], b: NDArray[Any], device: str = "cpu", half: bool = False
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Of (n, d) to (m, d), tile by tile: its rows of `a`, its rows of `b`, and their distances.

    `half`: from a set to itself without the tiles below the diagonal, which hold the same pairs again.
    """
    queries, among = resident(a, device), resident(b, device).to(torch.float64, copy=True)
    centre = among.mean(dim=0)
    among -= centre
    among_squares = _squared_lengths(among)
    blocks_a, blocks_b = blocks(len(a), device), blocks(len(b), device)
    for rows in blocks_a:
        centred = queries[rows].double() - centre
        squares_of_rows, doubled = _squared_lengths(centred)[:, None], _filled(-2 * centred, blocks_a[0].stop)
        for columns in blocks_b:
            if half and columns.start < rows.start:
                continue
            scale = squares_of_rows + among_squares[columns]
            products = doubled @ _filled(among[columns], blocks_b[0].stop).T
            squares = products[: scale.shape[0], : scale.shape[1]].add_(scale)
            yield rows, columns, squares.masked_fill_(squares < scale.mul_(ROUNDING), 0)


def nearest(
    queries: NDArray[Any], among: NDArray[Any], k: int, device: str = "cpu", watch: Watch | None = None
) -> tuple[Indices, Matrix]:
    """For each of (n, d) its k nearest of (m >= k, d): indices and distances, both (n, k).

    Nearest first, and among equals the first. `watch` is shown every tile of squared distances, as `squared_distances`
    yields it: who needs all of them need not compute them again.
    """
    squares = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=device)
    indices = torch.zeros((len(queries), k), dtype=torch.int64, device=device)
    for rows, columns, tile in squared_distances(queries, among, device):
        if watch is not None:
            watch(rows, columns, tile)
        values, places = _first(tile, k)
        values = torch.cat([squares[rows], values], dim=1)
        places = torch.cat([indices[rows], places + columns.start], dim=1)
        values, order = values.sort(dim=1, stable=True)  # what earlier tiles found comes first, also among equals
        squares[rows], indices[rows] = values[:, :k], places.gather(1, order[:, :k])
    return indices.cpu().numpy(), squares.sqrt().cpu().numpy()


def squared_radii(points: NDArray[Any], k: int, device: str = "cpu") -> Matrix:
    """(n > k, d) → (n,): squared distance of each to its k-th nearest other."""
    least = torch.full((len(points), k + 1), torch.inf, dtype=torch.float64, device=device)
    for rows, columns, tile in squared_distances(points, points, device, half=True):
        least[rows] = _least(least[rows], tile)
        if columns != rows:
            least[columns] = _least(least[columns], tile.T.contiguous())
    radii: Matrix = least[:, k].cpu().numpy()  # each is its own nearest
    return radii


def _squared_lengths(rows: Tensor) -> Tensor:
    """(n, d) → (n,), without a second matrix of their size."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.square()


def _filled(rows: Tensor, length: int) -> Tensor:
    """With zeros up to that length: products of one shape add up in one order, and a picture's copies stay equal to the
    last bit, in whatever tile they are."""
    return rows if len(rows) == length else functional.pad(rows, (0, 0, 0, length - len(rows)))


def _first(tile: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k least of each row and their columns, of equals the first, which topk does not promise. Writes on `tile`."""
    found = []
    for _ in range(min(k, tile.shape[1])):
        value, place = tile.min(dim=1, keepdim=True)
        tile.scatter_(1, place, torch.inf)
        found.append((value, place))
    values, places = zip(*found, strict=True)
    return torch.cat(values, dim=1), torch.cat(places, dim=1)


def _least(before: Tensor, tile: Tensor) -> Tensor:
    """The least of both in each row, ascending, as many as there were (n, k)."""
    k = before.shape[1]
    new = tile.topk(min(k, tile.shape[1]), largest=False).values
    return torch.cat([before, new], dim=1).topk(k, largest=False).values
