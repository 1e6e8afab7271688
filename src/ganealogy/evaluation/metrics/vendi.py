"""The Vendi score: how many different pictures a set is worth (Friedman and Dieng, arXiv 2210.02410)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError


def vendi(features: NDArray[Any]) -> float:
    """exp of the entropy of the eigenvalues of the cosine kernel over n, of features (n, d): between 1 and n.

    The kernel's n eigenvalues other than 0 are those of a d × d matrix too; the smaller is taken.

    Raises: GanealogyError when a picture's features are all 0, which have no direction.
    """
    rows = np.array(features, np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]  # norm would square a copy
    if not lengths.all():
        raise GanealogyError("the cosine kernel is not defined: the features of some picture are all 0")
    rows /= lengths
    rows /= np.sqrt(len(rows))
    kernel = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = np.linalg.eigvalsh(kernel)
    values = values[values > 0]  # rounding leaves some below
    return float(np.exp(-np.sum(values * np.log(values))))
