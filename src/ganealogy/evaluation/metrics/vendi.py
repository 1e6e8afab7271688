"""Vendi score: the effective number of different pictures in a set (Friedman and Dieng, arXiv 2210.02410)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError


def vendi(features: NDArray[Any]) -> float:
    """Return the Vendi score of features (n, d), between 1 and n.

    It is exp of the entropy of the eigenvalues of the cosine kernel divided by n. The n × n and the d × d matrix have
    the same eigenvalues above 0; the smaller matrix is used.

    Raises: GanealogyError when a picture's features are all 0: its cosine is not defined.
    """
    rows = np.array(features, np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]  # np.linalg.norm would allocate a squared copy
    if not lengths.all():
        raise GanealogyError("the cosine kernel is not defined: at least one picture has features that are all 0")
    rows /= lengths
    rows /= np.sqrt(len(rows))
    kernel = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = np.linalg.eigvalsh(kernel)
    values = values[values > 0]  # rounding makes some of them negative
    return float(np.exp(-np.sum(values * np.log(values))))
