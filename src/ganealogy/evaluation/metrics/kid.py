"""Kernel Inception distance: the unbiased squared MMD under a cubic polynomial kernel (arXiv 1801.01401).

Unlike a Fréchet distance its expectation does not depend on the number of images, so it leads where there are few.

It is a small difference of large sums: the kernel is in float64 throughout.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.neighbours import Indices, Matrix, blocks, resident

SUBSETS = 100
SUBSET_SIZE = 1000
"""The paper's protocol; smaller sets use subsets of half the smaller set (see `subset_size`)."""
SEED = 2020


class KID(NamedTuple):
    value: float
    standard_error: float
    subset_size: int


class Setup(NamedTuple):
    """All that decides which images of two sets are drawn."""

    count_a: int
    count_b: int
    subsets: int
    size: int
    seed: int


def subset_size(count_a: int, count_b: int) -> int:
    """1000, or half the smaller set where that is less: subsets that were nearly the whole set would hardly differ, and
    their spread would say nothing."""
    return min(SUBSET_SIZE, min(count_a, count_b) // 2)


def setup(count_a: int, count_b: int, subsets: int = SUBSETS, size: int | None = None, seed: int = SEED) -> Setup:
    """Of two sets of so many images.

    Raises: GanealogyError when a set has fewer than four images.
    """
    size = size or subset_size(count_a, count_b)
    if not 2 <= size <= min(count_a, count_b):
        raise GanealogyError(f"KID needs 4 images a side and subsets of 2 or more; got {count_a}, {count_b} and {size}")
    return Setup(count_a, count_b, subsets, size, seed)


@lru_cache(maxsize=1)
def drawn(setup: Setup) -> tuple[Indices, Indices]:
    """The images of each subset, (subsets, size) of either set: drawn in turns from one generator."""
    rng = np.random.RandomState(setup.seed)
    counts = [setup.count_a, setup.count_b] * setup.subsets
    chosen = np.stack([rng.choice(count, setup.size, replace=False) for count in counts])
    return chosen[::2], chosen[1::2]


def kid(
    a: NDArray[Any],
    b: NDArray[Any],
    subsets: int = SUBSETS,
    size: int | None = None,
    seed: int = SEED,
    *,
    device: str = "cpu",
    within_b: Matrix | None = None,
) -> KID:
    """Mean over random subsets of features (n, d) and (m, d), with its standard error; can be slightly below 0.

    The error is the delete-d jackknife's (Shao and Wu, Annals of Statistics 17, 1989): the subsets overlap, so their
    variance is scaled by size / (n − size), with n the smaller set; conservative where the sets differ in size.
    `within_b`: what `within` gives for `b`, where that is known.

    Raises: GanealogyError when a set has fewer than four images.
    """
    of = setup(len(a), len(b), subsets, size, seed)
    chosen_a, chosen_b = (resident(chosen, device) for chosen in drawn(of))
    between = _sums(resident(a, device), resident(b, device), chosen_a, chosen_b).cpu().numpy() / of.size**2
    both_within = within(a, of, 0, device) + (within(b, of, 1, device) if within_b is None else within_b)
    distances = both_within / (of.size * (of.size - 1)) - 2 * between  # (subsets,)
    spread = float(distances.var(ddof=1)) if subsets > 1 else float("nan")
    smaller = min(len(a), len(b))
    error = np.sqrt(spread * of.size / (smaller - of.size)) if of.size < smaller else float("nan")
    return KID(float(distances.mean()), float(error), of.size)


def within(features: NDArray[Any], setup: Setup, side: int, device: str = "cpu") -> Matrix:
    """(subsets,): the kernel summed over the pairs of each subset of features (n, d), the setup's side 0 or 1.

    An image's pair with itself is left out: it would bias the estimate.
    """
    x, chosen = resident(features, device), resident(drawn(setup)[side], device)
    lengths = [x[rows].double().square().sum(dim=1) for rows in blocks(len(x), device)]
    diagonal = _kernel(torch.cat(lengths), x.shape[1])
    sums: Matrix = (_sums(x, x, chosen, chosen) - diagonal[chosen].sum(dim=1)).cpu().numpy()
    return sums


def _sums(a: Tensor, b: Tensor, chosen_a: Tensor, chosen_b: Tensor) -> Tensor:
    """(subsets,): the kernel summed over all pairs of each subset.

    Subsets of large sets hardly share a pair, and each has its own product. Those of small sets share most: there every
    kernel value is computed once, and not once a subset.
    """
    if len(a) * len(b) > chosen_a.numel() * chosen_b.shape[1]:
        pairs = zip(chosen_a, chosen_b, strict=True)
        return torch.stack([_kernel(a[i].double() @ b[j].double().T, a.shape[1]).sum() for i, j in pairs])
    totals = torch.zeros(len(chosen_a), dtype=torch.float64, device=a.device)
    in_a, in_b = _indicator(chosen_a, len(a)), _indicator(chosen_b, len(b))
    for rows in blocks(len(a), str(a.device)):
        for columns in blocks(len(b), str(a.device)):
            tile = _kernel(a[rows].double() @ b[columns].double().T, a.shape[1])
            totals += ((in_a[:, rows] @ tile) * in_b[:, columns]).sum(dim=1)
    return totals


def _kernel(inner: Tensor, dimension: int) -> Tensor:
    """mmd.py's, on a device and in place."""
    return inner.div_(dimension).add_(1).pow_(3)


def _indicator(chosen: Tensor, count: int) -> Tensor:
    """(subsets, count): 1 where a subset has the image."""
    zeros = torch.zeros(len(chosen), count, dtype=torch.float64, device=chosen.device)
    return zeros.scatter_(1, chosen, 1)
