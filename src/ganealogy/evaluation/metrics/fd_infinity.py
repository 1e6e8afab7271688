"""FD∞: the Fréchet distance extrapolated to infinitely many fakes (Chong and Forsyth, arXiv 1911.07023).

The bias of a Fréchet distance of N fakes is nearly proportional to 1/N, so a line in 1/N is fitted and evaluated at 0.
The number of reals does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance

MIN_IMAGES_PER_DIMENSION = 4
"""With fewer, the bias is not linear in 1/N."""
POINTS = 15
SEED = 2020


def counts(images: int, dimension: int) -> list[int]:
    """Return the paper's 15 evenly spaced subset sizes, from max(images / 10, 2 × dimension) to all images."""
    sizes = np.linspace(max(2 * dimension, images // 10), images, POINTS)
    return [round(size) for size in sizes]


def fd_infinity(fakes: NDArray[Any], reals: Moments, moments: Callable[[NDArray[Any]], Moments] = Moments.of) -> float:
    """Return FD∞ of features (N, d); it can be slightly below 0 when the true distance is 0.

    `moments`: a replacement for `Moments.of`, such as one that computes on a GPU.

    Raises: GanealogyError for fewer than 4 d fakes.
    """
    images, dimension = fakes.shape
    minimum = MIN_IMAGES_PER_DIMENSION * dimension
    if images < minimum:
        raise GanealogyError(
            f"needs {minimum} images, {MIN_IMAGES_PER_DIMENSION} for each of {dimension} dimensions; there are {images}"
        )
    rng = np.random.RandomState(SEED)
    sizes = counts(images, dimension)
    subsets = [rng.choice(images, size, replace=False) for size in sizes]
    # Largest first: the smaller subsets then reuse the memory that it frees.
    distances = [frechet_distance(moments(fakes[subset]), reals) for subset in reversed(subsets)][::-1]
    _, intercept = np.polyfit(1 / np.array(sizes), distances, 1)
    return float(intercept)
