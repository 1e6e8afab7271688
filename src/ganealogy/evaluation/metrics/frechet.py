"""Fréchet distance between the Gaussians of two feature sets, in float64 (Heusel et al., arXiv 1706.08500).

    |μa − μb|² + tr Ca + tr Cb − 2 tr (Ca Cb)^½

For any roots R with Rᵀ R = C, the last trace is the sum of the singular values of Ra Rbᵀ. No square root of a matrix
that need not be symmetric is taken, so nothing imaginary can appear, and singular covariances need no special care.
The singular values come from the eigenvalues of a Gram matrix wherever what that loses in the smallest of them cannot
be seen in the distance; else from the SVD.

n images, d feature dimensions.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics import linear_algebra
from ganealogy.evaluation.metrics.linear_algebra import Matrix

EPSILON = float(np.finfo(np.float64).eps)
CHUNK = 10_000
"""Images whose features are held in float64 at a time: 160 MB of 2048 dimensions."""
TOLERANCE = 2e-5
"""Relative error of a distance that the faster way may have at worst, by a bound that lies orders above what is seen; a
fifth of what FIDs of the same pictures may differ by."""


class Moments:
    """Mean and covariance (divisor n − 1) of a feature set. What is costly is computed on first use, and then kept."""

    def __init__(self, mean: Matrix, *, centred: Matrix | None = None, covariance: Matrix | None = None) -> None:
        """From `centred` (n, d), the rows minus their mean over √(n − 1), or from a `covariance` (d, d). See `of`."""
        self.mean = mean
        """(d,)"""
        if covariance is not None:
            self.covariance = covariance  # stands in for the cached property
        elif centred is None:
            raise ValueError("give the centred features or their covariance")
        elif len(centred) < len(mean):
            self.root = centred  # fewer images than dimensions: the features themselves are the smallest root
        else:
            self.covariance = centred.T @ centred
        self.trace = float(np.einsum("ij,ij", self.root, self.root) if self.thin else np.trace(self.covariance))
        """Total variance."""

    @classmethod
    def of(cls, features: NDArray[Any]) -> Moments:
        """Of features (n, d).

        Raises: GanealogyError for fewer than two images (they have no covariance), or for NaN and infinite features.
        """
        if features.ndim != 2 or len(features) < 2:
            raise GanealogyError(f"a Fréchet distance needs features (n >= 2, d), got {features.shape}: add images")
        if not np.isfinite(features).all():
            raise GanealogyError("features hold NaN or infinite values: the images or the weights are damaged")
        mean = features.mean(axis=0, dtype=np.float64)
        if len(features) <= max(CHUNK, len(mean)):
            return cls(mean, centred=_centred(features, mean, len(features)))
        starts = range(0, len(features), CHUNK)
        parts = (_centred(features[start : start + CHUNK], mean, len(features)) for start in starts)
        covariance = np.zeros((len(mean), len(mean)))
        for part in parts:
            covariance += part.T @ part
        return cls(mean, covariance=covariance)

    @property
    def thin(self) -> bool:
        """Fewer images than dimensions: the root came for free and has fewer rows than the covariance."""
        return "covariance" not in self.__dict__

    @cached_property
    def covariance(self) -> Matrix:
        return self.root.T @ self.root

    @cached_property
    def triangle(self) -> Matrix | None:
        """The covariance's upper triangular root, where it has one."""
        return linear_algebra.of(len(self.mean)).triangle(self.covariance)

    @cached_property
    def root(self) -> Matrix:
        """(r, d) with rootᵀ root = covariance; r is d, or the rank where the covariance is singular."""
        if self.triangle is not None:
            return self.triangle
        values, vectors = np.linalg.eigh(self.covariance)
        # Below rounding error an eigenvalue is noise of either sign; dropping it also makes later products smaller.
        kept = values > values[-1] * len(values) * EPSILON
        root: Matrix = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
        return root


def _centred(rows: NDArray[Any], mean: Matrix, count: int) -> Matrix:
    """Rows (n, d) of a set of `count`, minus its mean, over √(count − 1)."""
    centred: Matrix = rows - mean
    centred /= np.sqrt(count - 1)
    return centred


def frechet_distance(a: Moments, b: Moments) -> float:
    """At least 0, and 0 for equal sets; symmetric. Where both sides are larger than d, pass the set that is used again
    and again (the reals) as `b`: its root is the costly part, and it is kept.

    Raises: GanealogyError when the sets have features of different dimensions.
    """
    if a.mean.shape != b.mean.shape:
        raise GanealogyError(f"features of {a.mean.size} and {b.mean.size} dimensions: use one extractor for both sets")
    apart = float(np.sum((a.mean - b.mean) ** 2))
    total = apart + a.trace + b.trace
    overlap, error = _overlap(a, b)
    if 2 * error > TOLERANCE * (total - 2 * overlap):  # nearly equal sets, or a singular product
        overlap = float(np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum())
    return max(total - 2 * overlap, 0.0)


def _squares(a: Moments, b: Moments) -> Matrix:
    """The squares of the singular values of Ra Rbᵀ, ascending; as few of them, and with as few roots, as will do."""
    linear = linear_algebra.of(a.mean.size)
    if a.thin and b.thin:
        fewer, more = sorted((a.root, b.root), key=len)
        return linear.squared_singular_values(linear.product(fewer, more))
    outer, inner = (a, b) if a.thin else (b, a)
    if outer.thin and inner.triangle is not None:
        return linear.squared_singular_values(linear.times_triangle(outer.root, inner.triangle))
    if outer.thin or outer.triangle is None:  # outer's root · inner's covariance · outer's rootᵀ
        return linear.eigenvalues(linear.product(linear.product(outer.root, inner.covariance), outer.root))
    half = linear.times_triangle(inner.covariance, outer.triangle)
    return linear.eigenvalues(linear.times_triangle(half.T, outer.triangle))


def _overlap(a: Moments, b: Moments) -> tuple[float, float]:
    """tr (Ca Cb)^½ from the squares of the singular values, and a bound of what rounding may have added to it."""
    if not len(a.root if a.thin else b.root):
        return 0.0, 0.0  # a constant set
    squares = _squares(a, b).clip(min=0)
    values = np.sqrt(squares)
    # An eigenvalue is off by some ε of the largest one, and so its root by the lesser of these two.
    noise = 10 * EPSILON * float(squares[-1])
    errors = np.minimum(noise / (2 * values.clip(min=np.finfo(np.float64).tiny)), np.sqrt(noise))
    return float(values.sum()), float(errors.sum())
