"""Kernel Inception distance: the unbiased squared MMD under a cubic polynomial kernel (arXiv 1801.01401).

Unlike a Fréchet distance its expectation does not depend on the number of images, so it leads where there are few.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.mmd import kernel

SUBSETS = 100
SUBSET_SIZE = 1000
"""The paper's protocol; smaller sets use subsets of half the smaller set (see `subset_size`)."""
SEED = 2020
ROWS = 1000
"""Rows of a kernel matrix held at a time: memory is ROWS × n numbers, whatever n is."""

Matrix = NDArray[np.float64]


class KID(NamedTuple):
    value: float
    standard_error: float
    subset_size: int


def subset_size(count_a: int, count_b: int) -> int:
    """1000, or half the smaller set where that is less: subsets that were nearly the whole set would hardly differ, and
    their spread would say nothing."""
    return min(SUBSET_SIZE, min(count_a, count_b) // 2)


def kid(a: NDArray[Any], b: NDArray[Any], subsets: int = SUBSETS, size: int | None = None, seed: int = SEED) -> KID:
    """Mean over random subsets of features (n, d) and (m, d), with its standard error; can be slightly below 0.

    The error is the delete-d jackknife's (Shao and Wu, Annals of Statistics 17, 1989): the subsets overlap, so their
    variance is scaled by size / (n − size), with n the smaller set; conservative where the sets differ in size.

    Raises: GanealogyError when a set has fewer than four images.
    """
    smaller = min(len(a), len(b))
    size = size or subset_size(len(a), len(b))
    if not 2 <= size <= smaller:
        raise GanealogyError(f"KID needs 4 images a side and subsets of 2 or more; got {len(a)}, {len(b)} and {size}")
    rng = np.random.RandomState(seed)
    chosen_a, chosen_b = np.zeros((len(a), subsets)), np.zeros((len(b), subsets))
    for index in range(subsets):
        chosen_a[rng.choice(len(a), size, replace=False), index] = 1
        chosen_b[rng.choice(len(b), size, replace=False), index] = 1
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    within = (_off_diagonal(a, chosen_a) + _off_diagonal(b, chosen_b)) / (size * (size - 1))
    between = _sums(a, b, chosen_a, chosen_b) / size**2
    distances = within - 2 * between  # (subsets,)
    spread = float(distances.var(ddof=1)) if subsets > 1 else float("nan")
    error = np.sqrt(spread * size / (smaller - size)) if size < smaller else float("nan")
    return KID(float(distances.mean()), float(error), size)


def _sums(a: Matrix, b: Matrix, chosen_a: Matrix, chosen_b: Matrix) -> Matrix:
    """For each subset, the kernel summed over its pairs: every kernel value is computed once, not once a subset."""
    totals = np.zeros(chosen_a.shape[1])
    for start in range(0, len(a), ROWS):
        rows = slice(start, start + ROWS)
        totals += (chosen_a[rows] * (kernel(a[rows] @ b.T, a.shape[1]) @ chosen_b)).sum(axis=0)
    return totals


def _off_diagonal(x: Matrix, chosen: Matrix) -> Matrix:
    """The same within one set, without an image's pair with itself, which would bias the estimate."""
    diagonal = kernel((x * x).sum(axis=1), x.shape[1])
    return _sums(x, x, chosen, chosen) - diagonal @ chosen
