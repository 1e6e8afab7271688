"""Fréchet distance in the reals' own whitened principal components, relative to one repeated picture.

Each of the first components of the reals' covariance is divided by √(λ + u²): λ is its variance, and u the level below
which a difference counts as unseen. The distance is then divided by Σ λ/(λ + u²), which is the distance of the reals'
mean, repeated, so 1 is a generator with one picture. Distances in several blocks of features have this unit in common,
so they can be compared, and the worst one taken.

n images, d features, k components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.frechet import Matrix, Moments


class Block(NamedTuple):
    """Features whose components are whitened together."""

    name: str
    """Of the metric, without `fd_`."""
    columns: slice
    components: int
    unseen: float
    """u, in the features' unit."""


@dataclass(frozen=True)
class Whitening:
    """The reals' components of one block."""

    mean: Matrix
    """(d,)"""
    basis: Matrix
    """(d, k), divided by √(λ + u²)."""
    variances: Matrix
    """λ/(λ + u²), (k,): variances of the reals in whitened coordinates, where their covariance is diagonal."""

    @classmethod
    def of(cls, reals: NDArray[Any], components: int, unseen: float) -> Whitening:
        """Return the components of features (n, d); fewer than `components` if n or d is smaller.

        Raises: GanealogyError for fewer than two images, for NaN or infinite features, and for reals without variance.
        """
        moments = Moments.of(reals)
        values, vectors = np.linalg.eigh(moments.covariance)
        count = min(components, len(reals) - 1, len(values))
        values, vectors = values[::-1][:count].clip(min=0), vectors[:, ::-1][:, :count]
        # Components below rounding error have no direction of their own; without u they would be divided by 0.
        seen = values > max(float(values[0]), 1e-300) * 1e-10
        if not seen.any():
            raise GanealogyError("the real pictures all have the same features")
        values, vectors = values[seen], vectors[:, seen]
        return cls(moments.mean, vectors / np.sqrt(values + unseen**2), values / (values + unseen**2))

    def distance(self, fakes: NDArray[Any]) -> float:
        """Return the relative distance of features (n, d) to the reals.

        Raises: GanealogyError for fewer than two images, or for NaN or infinite features.
        """
        moments = Moments.of((fakes - self.mean) @ self.basis)
        root = np.sqrt(self.variances)
        covariance = moments.covariance * np.outer(root, root)
        overlap = np.sqrt(np.linalg.eigvalsh(covariance).clip(min=0)).sum()
        unit = self.variances.sum()
        total = moments.mean @ moments.mean + moments.trace + unit - 2 * overlap
        return max(float(total / unit), 0.0)
