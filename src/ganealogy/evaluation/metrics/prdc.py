"""Precision and recall (Kynkäänniemi et al., arXiv 1904.06991), density and coverage (Naeem et al., arXiv 2002.09797).

A set's manifold is the union of balls about its features, each reaching to the k-th nearest other of its set.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ganealogy.evaluation.metrics.neighbours import Matrix, resident, squared_distances

K = 5
RIM = 1e-12
"""Share by which a ball's squared radius is smaller here: what lies on its rim is outside, and rounding must not put it
inside. A copy of the neighbour that the ball reaches to lies there."""


class Manifolds:
    """Which balls hold what, counted while the distances between fakes and reals pass by."""

    def __init__(self, fake_radii: Matrix, real_radii: Matrix, device: str = "cpu") -> None:
        """The `squared_radii` of both sets, (n,) and (m,)."""
        self.fake_radii, self.real_radii = (resident(radii, device) * (1 - RIM) for radii in (fake_radii, real_radii))
        self.about_fake = torch.zeros(len(fake_radii), dtype=torch.int64, device=device)  # real balls that hold it
        self.covered, self.recalled = torch.zeros(2, len(real_radii), dtype=torch.bool, device=device)

    def watch(self, fakes: slice, reals: slice, squares: Tensor) -> None:
        """Of these fakes to these reals, (fakes, reals); each pair must come once."""
        in_real_ball = squares < self.real_radii[reals]
        self.about_fake[fakes] += in_real_ball.sum(dim=1, dtype=torch.int32)  # no tile is so wide; the half of int64
        self.covered[reals] |= in_real_ball.any(dim=0)
        self.recalled[reals] |= (squares < self.fake_radii[fakes, None]).any(dim=0)

    def values(self, k: int = K) -> dict[str, float]:
        """precision: share of fakes inside a real's ball; recall: share of reals inside a fake's ball; density: real
        balls about a fake, over k (above 1 where fakes crowd where reals do); coverage: share of reals with a fake in
        their ball."""
        counted = {
            "precision": self.about_fake > 0,
            "recall": self.recalled,
            "density": self.about_fake,
            "coverage": self.covered,
        }
        means = {name: float(of.double().mean()) for name, of in counted.items()}
        return means | {"density": means["density"] / k}


def prdc(
    fakes: NDArray[Any],
    reals: NDArray[Any],
    fake_radii: Matrix,
    real_radii: Matrix,
    k: int = K,
    device: str = "cpu",
) -> dict[str, float]:
    """Of features (n, d) and (m, d), with the `squared_radii` of each at this k; see `Manifolds.values`."""
    manifolds = Manifolds(fake_radii, real_radii, device)
    for tile in squared_distances(fakes, reals, device):
        manifolds.watch(*tile)
    return manifolds.values(k)
