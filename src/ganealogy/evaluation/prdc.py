"""Precision and recall (Kynkäänniemi et al., arXiv 1904.06991), density and coverage (Naeem et al., arXiv 2002.09797).

A set's manifold is the union of balls about its features, each reaching to the k-th nearest other of its set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.evaluation.neighbours import Matrix, squared_distances

K = 5


def prdc(
    fakes: NDArray[Any], reals: NDArray[Any], fake_radii: Matrix, real_radii: Matrix, k: int = K
) -> dict[str, float]:
    """Of features (n, d) and (m, d), with the `squared_radii` of each at this k.

    precision: share of fakes inside a real's ball; recall: share of reals inside a fake's ball; density: real balls
    about a fake, over k (above 1 where fakes crowd where reals do); coverage: share of reals with a fake in their ball.
    """
    about_fake = np.zeros(len(fakes), np.int64)  # real balls that hold it
    recalled = covered = 0
    for block, squares in squared_distances(reals, fakes):
        in_real_ball = squares < real_radii[block, None]
        about_fake += in_real_ball.sum(axis=0)
        covered += int(in_real_ball.any(axis=1).sum())
        recalled += int((squares < fake_radii).any(axis=1).sum())
    return {
        "precision": float((about_fake > 0).mean()),
        "recall": recalled / len(reals),
        "density": float(about_fake.mean()) / k,
        "coverage": covered / len(reals),
    }
