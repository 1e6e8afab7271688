"""Fréchet distance between the Gaussians of two feature sets, in float64 (Heusel et al., arXiv 1706.08500).

    |μa − μb|² + tr Ca + tr Cb − 2 tr (Ca Cb)^½

For any roots R with Rᵀ R = C, the last trace is the sum of the singular values of Ra Rbᵀ. This avoids the square root
of a non-symmetric matrix, so no imaginary parts appear, and singular covariances need no special case. The singular
values are computed from the eigenvalues of a Gram matrix if the loss of precision is below TOLERANCE, else by an SVD.

n images, d feature dimensions.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

Matrix = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)
WIDE = 1024
"""Dimensions from which scipy solves the eigenvalue problem of two covariances: its import, a tenth of a second, is
then soon recovered. Pixel features, and with them training, need numpy alone."""
CHUNK = 10_000
"""Images converted to float64 at a time: 160 MB for 2048 dimensions."""
TOLERANCE = 2e-5
"""Largest accepted relative error of a distance without an SVD, by a bound that is orders above the actual error. FIDs
of the same pictures may differ by five times as much."""


class Moments:
    """Mean and covariance (divisor n − 1) of a feature set. Costly values are computed on first use and cached."""

    def __init__(self, mean: Matrix, *, centred: Matrix | None = None, covariance: Matrix | None = None) -> None:
        """Take either `centred` (n, d), the rows minus their mean divided by √(n − 1), or a `covariance` (d, d)."""
        self.mean = mean
        """(d,)"""
        if covariance is not None:
            self.covariance = covariance  # fills the cached property
        elif centred is None:
            raise ValueError("give the centred features or their covariance")
        elif len(centred) < len(mean):
            self.root = centred  # fewer images than dimensions: the centred features are the smallest root
        else:
            self.covariance = centred.T @ centred
        self.trace = float(np.einsum("ij,ij", self.root, self.root) if self.thin else np.trace(self.covariance))
        """Total variance."""

    @classmethod
    def of(cls, features: NDArray[Any]) -> Moments:
        """Return the moments of features (n, d).

        Raises: GanealogyError for fewer than two images, or for NaN or infinite features.
        """
        if features.ndim != 2 or len(features) < 2:
            raise GanealogyError(f"a Fréchet distance needs features (n >= 2, d), got {features.shape}: add images")
        if not np.isfinite(features).all():
            raise GanealogyError("features contain NaN or infinite values: the images or the weights are damaged")
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
        """Whether there are fewer images than dimensions. The root is then given and smaller than the covariance."""
        return "covariance" not in self.__dict__

    @cached_property
    def covariance(self) -> Matrix:
        return self.root.T @ self.root

    @cached_property
    def triangle(self) -> Matrix | None:
        """The covariance's upper triangular root (d, d), by Cholesky; None for a singular covariance."""
        try:
            return np.asarray(np.linalg.cholesky(self.covariance), np.float64).T
        except np.linalg.LinAlgError:
            return None

    @cached_property
    def root(self) -> Matrix:
        """A matrix (r, d) with rootᵀ root = covariance; r is d, or the rank of a singular covariance."""
        if self.triangle is not None:
            return self.triangle
        values, vectors = np.linalg.eigh(self.covariance)
        # Eigenvalues below rounding error are noise of either sign; without them later products are smaller.
        significant = values > values[-1] * len(values) * EPSILON
        return np.sqrt(values[significant])[:, None] * vectors[:, significant].T


def _centred(rows: NDArray[Any], mean: Matrix, count: int) -> Matrix:
    """Return rows (n, d) of a set of `count`, minus the set's mean, divided by √(count − 1)."""
    centred: Matrix = rows - mean
    centred /= np.sqrt(count - 1)
    return centred


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the distance: at least 0, and 0 for equal sets; symmetric.

    Pass the set that is used repeatedly (the reals) as `b`: its root is costly and is cached.

    Raises: GanealogyError when the sets have features of different dimensions.
    """
    if a.mean.shape != b.mean.shape:
        raise GanealogyError(f"features of {a.mean.size} and {b.mean.size} dimensions: use one extractor for both sets")
    mean_term = float(np.sum((a.mean - b.mean) ** 2))
    total = mean_term + a.trace + b.trace
    overlap, error = _overlap(a, b)
    if 2 * error > TOLERANCE * (total - 2 * overlap):  # nearly equal sets, or a singular product
        overlap = float(np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum())
    return max(total - 2 * overlap, 0.0)


def _squares(a: Moments, b: Moments) -> Matrix:
    """Return the squared singular values of Ra Rbᵀ, ascending; as few, and by as few roots, as possible."""
    if a.thin and b.thin:
        fewer, more = sorted((a.root, b.root), key=len)
        product = fewer @ more.T
        return _eigenvalues(product @ product.T)
    outer, inner = (a, b) if a.thin else (b, a)
    if outer.thin and inner.triangle is not None:
        product = outer.root @ inner.triangle.T
        return _eigenvalues(product @ product.T)
    if not outer.thin and a.mean.size >= WIDE:
        from scipy import linalg  # see WIDE

        try:  # the eigenvalues of Ca Cb
            return np.asarray(linalg.eigvalsh(a.covariance, b.covariance, type=2, driver="gv", check_finite=False))
        except np.linalg.LinAlgError:  # Cb is singular
            return _eigenvalues(outer.root @ inner.covariance @ outer.root.T)
    if outer.thin or outer.triangle is None:
        return _eigenvalues(outer.root @ inner.covariance @ outer.root.T)
    half = inner.covariance @ outer.triangle.T
    return _eigenvalues(half.T @ outer.triangle.T)


def _eigenvalues(symmetric: Matrix) -> Matrix:
    return np.asarray(np.linalg.eigvalsh(symmetric), np.float64)


def _overlap(a: Moments, b: Moments) -> tuple[float, float]:
    """Return tr (Ca Cb)^½ from the squared singular values, and a bound of its rounding error."""
    if not len(a.root if a.thin else b.root):
        return 0.0, 0.0  # a constant set
    squares = _squares(a, b).clip(min=0)
    values = np.sqrt(squares)
    # Each eigenvalue has an error of a few ε times the largest; its root has the smaller of these two errors.
    noise = 10 * EPSILON * float(squares[-1])
    errors = np.minimum(noise / (2 * values.clip(min=np.finfo(np.float64).tiny)), np.sqrt(noise))
    return float(values.sum()), float(errors.sum())
