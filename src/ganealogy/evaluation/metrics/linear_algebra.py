"""The dense linear algebra of a Fréchet distance, in float64 and from one library at a time.

numpy and scipy each bring an OpenBLAS with threads of its own, and those of the one spin on while the other works: in
turns, the same calls take half as long again. Wide features are scipy's, which has what halves the work (symmetric
results, triangular factors); narrow ones are numpy's, whose import is paid for already.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
WIDE = 1024
"""Dimensions from which the import of scipy's linear algebra, a tenth of a second, is soon won back."""

BLOCK = 16
"""Columns that LAPACK turns at once; its own choice, 32, is some 3 % slower at 2,048 dimensions."""


class LinearAlgebra(Protocol):
    def product(self, x: Matrix, y: Matrix) -> Matrix:
        """x yᵀ (n, m) of (n, d) and (m, d)."""

    def triangle(self, covariance: Matrix) -> Matrix | None:
        """Cholesky's root U (d, d), upper, with Uᵀ U = covariance; None for a singular one. Ten times as fast as
        eigenvectors."""

    def times_triangle(self, x: Matrix, upper: Matrix) -> Matrix:
        """x upperᵀ (n, d) of (n, d) and an upper triangle (d, d)."""

    def squared_singular_values(self, x: Matrix) -> Matrix:
        """(n,), ascending, of (n, m): the eigenvalues of x xᵀ, at a quarter of the cost of an SVD."""

    def eigenvalues(self, symmetric: Matrix) -> Matrix:
        """(n,), ascending, of (n, n), of which nothing may be left afterwards. In columns' order, the lower triangle is
        enough."""


class Narrow(LinearAlgebra):
    def product(self, x: Matrix, y: Matrix) -> Matrix:
        return x @ y.T

    def triangle(self, covariance: Matrix) -> Matrix | None:
        try:
            return np.asarray(np.linalg.cholesky(covariance), np.float64).T
        except np.linalg.LinAlgError:
            return None

    def times_triangle(self, x: Matrix, upper: Matrix) -> Matrix:
        return x @ upper.T

    def squared_singular_values(self, x: Matrix) -> Matrix:
        return self.eigenvalues(x @ x.T)

    def eigenvalues(self, symmetric: Matrix) -> Matrix:
        return np.asarray(np.linalg.eigvalsh(symmetric), np.float64)


class Wide(LinearAlgebra):
    """BLAS's memory order is numpy's transposed: that is what the .T are for, which copy nothing."""

    def __init__(self) -> None:
        from scipy import linalg

        self.linalg, self.blas, self.lapack = linalg, linalg.blas, linalg.lapack

    def product(self, x: Matrix, y: Matrix) -> Matrix:
        found: Matrix = self.blas.dgemm(1.0, y.T, x.T, trans_a=1).T
        return found

    def triangle(self, covariance: Matrix) -> Matrix | None:
        try:
            found: Matrix = self.linalg.cholesky(covariance, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        return found

    def times_triangle(self, x: Matrix, upper: Matrix) -> Matrix:
        by_rows = x.flags.c_contiguous
        found: Matrix
        found = self.blas.dtrmm(1.0, upper, x.T).T if by_rows else self.blas.dtrmm(1.0, upper, x, side=1, trans_a=1)
        return found

    def squared_singular_values(self, x: Matrix) -> Matrix:
        return self.eigenvalues(self.blas.dsyrk(1.0, x.T, trans=1, lower=1))

    def eigenvalues(self, symmetric: Matrix) -> Matrix:
        if len(symmetric) == 1:  # scipy passes on no empty off-diagonal
            return symmetric.diagonal()
        by_columns = symmetric if symmetric.flags.f_contiguous else symmetric.T  # all of it is there then
        room = BLOCK * len(symmetric)
        _, diagonal, beside, _, _info = self.lapack.dsytrd(by_columns, lower=1, lwork=room, overwrite_a=1)
        found: Matrix
        found, info = self.lapack.dsterf(diagonal, beside, overwrite_d=1, overwrite_e=1)
        if info:
            raise np.linalg.LinAlgError(f"{info} eigenvalues did not converge")
        return found


def of(dimensions: int) -> LinearAlgebra:
    """For features of so many dimensions."""
    return Wide() if dimensions >= WIDE else Narrow()
