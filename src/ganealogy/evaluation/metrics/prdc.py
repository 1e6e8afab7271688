"""Precision and recall (Kynkäänniemi et al., arXiv 1904.06991), density and coverage (Naeem et al., arXiv 2002.09797).

The manifold of a set is the union of balls around its features. Each ball's radius is the distance to the k-th nearest
other feature of the same set.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ganealogy.evaluation.metrics.neighbours import Matrix, squared_distances, to_device

K = 5
RIM = 1e-12
"""Relative increase of squared radii. A point on the rim, such as a copy of the k-th neighbour, is inside, as in the
code of precision's authors. Density's authors leave it out, and then copies of pictures that repeat k times are outside
of all balls. Without the increase, rounding could put it outside."""


class Manifolds:
    """Count which balls contain which features, tile by tile of the distances between fakes and reals."""

    def __init__(self, fake_radii: Matrix, real_radii: Matrix, device: str = "cpu") -> None:
        """`fake_radii` (n,), `real_radii` (m,): see `neighbours.squared_radii`."""
        self.fake_radii, self.real_radii = (to_device(radii, device) * (1 + RIM) for radii in (fake_radii, real_radii))
        self.balls_per_fake = torch.zeros(len(fake_radii), dtype=torch.int64, device=device)  # real balls around each
        self.covered, self.recalled = torch.zeros(2, len(real_radii), dtype=torch.bool, device=device)

    def add_tile(self, fakes: slice, reals: slice, squares: Tensor) -> None:
        """Count a tile of squared distances (fakes, reals). Each pair must be added exactly once."""
        in_real_ball = squares <= self.real_radii[reals]
        self.balls_per_fake[fakes] += in_real_ball.sum(dim=1, dtype=torch.int32)  # a tile's sum fits; int64 is slower
        self.covered[reals] |= in_real_ball.any(dim=0)
        self.recalled[reals] |= (squares <= self.fake_radii[fakes, None]).any(dim=0)

    def values(self, k: int = K) -> dict[str, float]:
        """Return the four metrics.

        - precision: fraction of fakes inside a real's ball.
        - recall: fraction of reals inside a fake's ball.
        - density: real balls per fake, divided by k; above 1 when fakes crowd in dense regions of the reals.
        - coverage: fraction of reals with a fake in their ball.
        """
        counts = {
            "precision": self.balls_per_fake > 0,
            "recall": self.recalled,
            "density": self.balls_per_fake,
            "coverage": self.covered,
        }
        means = {name: float(count.double().mean()) for name, count in counts.items()}
        return means | {"density": means["density"] / k}


def prdc(
    fakes: NDArray[Any], reals: NDArray[Any], fake_radii: Matrix, real_radii: Matrix, k: int = K, device: str = "cpu"
) -> dict[str, float]:
    """Return `Manifolds.values` of features (n, d) and (m, d), given the `squared_radii` of each for this k."""
    manifolds = Manifolds(fake_radii, real_radii, device)
    for tile in squared_distances(fakes, reals, device):
        manifolds.add_tile(*tile)
    return manifolds.values(k)
