"""The squared maximum mean discrepancy under KID's kernel, over whole sets: cheap enough for a curve while training.

Apart from kid.py, so that the training's code does not change when the protocol of the final numbers does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def squared_mmd(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Unbiased estimate between features (n, d) and (m, d) with the kernel (x·y / d + 1)³ of arXiv 1801.01401.

    The estimator is eq. 3 of Gretton et al., A Kernel Two-Sample Test, JMLR 13, 2012. Its expectation is KID's, which
    averages it over random subsets; it can be slightly below 0.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    within = sum(_mean_off_diagonal(kernel(x @ x.T, x.shape[1])) for x in (a, b))
    return float(within - 2 * kernel(a @ b.T, a.shape[1]).mean())


def kernel(inner: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    """KID's, of inner products of features of that dimension: (x·y / d + 1)³."""
    return (inner / dimension + 1) ** 3


def _mean_off_diagonal(kernel: NDArray[np.float64]) -> float:
    """Without an image's pair with itself, which would bias the estimate."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
