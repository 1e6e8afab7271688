"""Kernel Inception distance: unbiased squared MMD under a cubic polynomial kernel (arXiv 1801.01401).

Unlike a Fréchet distance, its expectation does not depend on the number of images, so it is preferred for small sets.
The kernel is float64 throughout: the result is a small difference of large sums.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.neighbours import Indices, Matrix, blocks, to_device

SUBSETS = 100
SUBSET_SIZE = 1000
"""The paper's protocol; smaller sets use subsets of half the smaller set (see `subset_size`)."""
SEED = 2020


class KID(NamedTuple):
    value: float
    standard_error: float
    subset_size: int


class Setup(NamedTuple):
    """Everything that determines which images of two sets are drawn."""

    count_a: int
    count_b: int
    subsets: int
    size: int
    seed: int


def subset_size(count_a: int, count_b: int) -> int:
    """Return 1000, or half the smaller set if that is less.

    Subsets of nearly the whole set would hardly differ, and their spread would mean nothing.
    """
    return min(SUBSET_SIZE, min(count_a, count_b) // 2)


def setup(count_a: int, count_b: int, subsets: int = SUBSETS, size: int | None = None, seed: int = SEED) -> Setup:
    """Return the setup for two sets of these sizes.

    Raises: GanealogyError when a set has fewer than four images.
    """
    size = size or subset_size(count_a, count_b)
    if not 2 <= size <= min(count_a, count_b):
        raise GanealogyError(
            f"KID needs 4 images per side and subsets of at least 2; got {count_a}, {count_b} and {size}"
        )
    return Setup(count_a, count_b, subsets, size, seed)


@lru_cache(maxsize=1)
def draw_subsets(setup: Setup) -> tuple[Indices, Indices]:
    """Return the images of each subset, (subsets, size) per set, drawn alternately from one generator."""
    rng = np.random.RandomState(setup.seed)
    counts = [setup.count_a, setup.count_b] * setup.subsets
    draws = np.stack([rng.choice(count, setup.size, replace=False) for count in counts])
    return draws[::2], draws[1::2]


def kid(
    a: NDArray[Any],
    b: NDArray[Any],
    subsets: int = SUBSETS,
    size: int | None = None,
    seed: int = SEED,
    *,
    device: str = "cpu",
    sums_within_b: Matrix | None = None,
) -> KID:
    """Return the mean over random subsets of features (n, d) and (m, d); it can be slightly below 0.

    The standard error is the delete-d jackknife's (Shao and Wu, Annals of Statistics 17, 1989). Subsets overlap, so
    their variance is scaled by size / (n − size), with n the smaller set; conservative for sets of different sizes.

    `sums_within_b`: the result of `sums_within` for `b`, if it is already computed.

    Raises: GanealogyError when a set has fewer than four images.
    """
    drawing = setup(len(a), len(b), subsets, size, seed)
    subsets_a, subsets_b = (to_device(indices, device) for indices in draw_subsets(drawing))
    between = _sums(to_device(a, device), to_device(b, device), subsets_a, subsets_b).cpu().numpy() / drawing.size**2
    within_a = sums_within(a, drawing, 0, device)
    within_b = sums_within(b, drawing, 1, device) if sums_within_b is None else sums_within_b
    distances = (within_a + within_b) / (drawing.size * (drawing.size - 1)) - 2 * between  # (subsets,)
    variance = float(distances.var(ddof=1)) if subsets > 1 else float("nan")
    smaller = min(len(a), len(b))
    error = np.sqrt(variance * drawing.size / (smaller - drawing.size)) if drawing.size < smaller else float("nan")
    return KID(float(distances.mean()), float(error), drawing.size)


def sums_within(features: NDArray[Any], setup: Setup, side: int, device: str = "cpu") -> Matrix:
    """Return the kernel summed over the pairs within each subset of features (n, d), side 0 or 1: (subsets,).

    Pairs of an image with itself are left out: they would bias the estimate.
    """
    x, subsets = to_device(features, device), to_device(draw_subsets(setup)[side], device)
    lengths = [x[rows].double().square().sum(dim=1) for rows in blocks(len(x), device)]
    diagonal = _kernel(torch.cat(lengths), x.shape[1])
    return (_sums(x, x, subsets, subsets) - diagonal[subsets].sum(dim=1)).cpu().numpy()


def _sums(a: Tensor, b: Tensor, subsets_a: Tensor, subsets_b: Tensor) -> Tensor:
    """Return the kernel summed over all pairs of each subset: (subsets,).

    Subsets of large sets share few pairs, and each gets its own product. Subsets of small sets share most pairs; there
    every kernel value is computed once.
    """
    if len(a) * len(b) > subsets_a.numel() * subsets_b.shape[1]:
        pairs = zip(subsets_a, subsets_b, strict=True)
        return torch.stack([_kernel(a[i].double() @ b[j].double().T, a.shape[1]).sum() for i, j in pairs])
    totals = torch.zeros(len(subsets_a), dtype=torch.float64, device=a.device)
    in_a, in_b = _indicator(subsets_a, len(a)), _indicator(subsets_b, len(b))
    for rows in blocks(len(a), str(a.device)):
        for columns in blocks(len(b), str(a.device)):
            tile = _kernel(a[rows].double() @ b[columns].double().T, a.shape[1])
            totals += ((in_a[:, rows] @ tile) * in_b[:, columns]).sum(dim=1)
    return totals


def _kernel(inner: Tensor, dimension: int) -> Tensor:
    """Apply the kernel of mmd.py in place, on the tensor's device."""
    return inner.div_(dimension).add_(1).pow_(3)


def _indicator(subsets: Tensor, count: int) -> Tensor:
    """(subsets, count): 1 for the images of each subset, else 0."""
    zeros = torch.zeros(len(subsets), count, dtype=torch.float64, device=subsets.device)
    return zeros.scatter_(1, subsets, 1)
