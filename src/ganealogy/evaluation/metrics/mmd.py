"""Squared maximum mean discrepancy of whole sets under KID's kernel: cheap enough for a curve during training.

Kept apart from kid.py, so that a change to the final metrics does not change training's fingerprint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def squared_mmd(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the unbiased estimate between features (n, d) and (m, d); it can be slightly below 0.

    Estimator: eq. 3 of Gretton et al., A Kernel Two-Sample Test, JMLR 13, 2012. Kernel: (x·y / d + 1)³ of arXiv
    1801.01401. Its expectation equals KID's, which averages the same estimator over random subsets.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    within = sum(_mean_off_diagonal(kernel(x @ x.T, x.shape[1])) for x in (a, b))
    return float(within - 2 * kernel(a @ b.T, a.shape[1]).mean())


def kernel(inner: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    """Return KID's kernel (x·y / d + 1)³ for inner products of features of that dimension."""
    return (inner / dimension + 1) ** 3


def _mean_off_diagonal(kernel: NDArray[np.float64]) -> float:
    """Average without the diagonal: pairing an image with itself would bias the estimate."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
