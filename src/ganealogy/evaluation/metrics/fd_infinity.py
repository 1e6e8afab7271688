"""FD∞: the Fréchet distance of infinitely many fakes (Chong and Forsyth, arXiv 1911.07023).

A Fréchet distance of N fakes is too large by nearly a constant over N: its line in 1/N is followed to 0. The reals stay
as many as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance

TIMES = 4
"""Images a feature dimension from which on the bias is a line in 1/N."""
POINTS = 15
SEED = 2020


def counts(images: int, dimension: int) -> list[int]:
    """The paper's 15 evenly spaced numbers of fakes up to all of them, from a tenth or twice the dimension on."""
    sizes = np.linspace(max(2 * dimension, images // 10), images, POINTS)
    return [round(size) for size in sizes]


def fd_infinity(fakes: NDArray[Any], reals: Moments, moments: Callable[[NDArray[Any]], Moments] = Moments.of) -> float:
    """Of features (N, d); can be slightly below 0 where the true distance is 0. `moments`: another `Moments.of`.

    Raises: GanealogyError for fewer than 4 d fakes.
    """
    images, dimension = fakes.shape
    if images < TIMES * dimension:
        raise GanealogyError(
            f"needs {TIMES * dimension} images, {TIMES} for each of {dimension} dimensions; there are {images}"
        )
    rng = np.random.RandomState(SEED)
    sizes = counts(images, dimension)
    subsets = [rng.choice(images, size, replace=False) for size in sizes]
    # Largest first: the others find room in the memory that it leaves.
    distances = [frechet_distance(moments(fakes[subset]), reals) for subset in reversed(subsets)][::-1]
    _, intercept = np.polyfit(1 / np.array(sizes), distances, 1)
    return float(intercept)
