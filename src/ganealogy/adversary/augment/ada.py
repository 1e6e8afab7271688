"""Adaptive discriminator augmentation: stronger as D overfits (Karras et al., arXiv 2006.06676).

The overfitting heuristic is r_t = E[sign(D(x))] on training reals (eq. 1). The transforms are DiffAugment's.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le

from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.augment._transforms import TRANSFORMS, Policy, sometimes
from ganealogy.adversary.schedule import Fraction, Progress


class ADA(Augmentation):
    probability: torch.Tensor
    signs: torch.Tensor
    """(3,): since the last adjustment, the sum of signs, the images and the D steps."""

    def __init__(
        self,
        *,
        policy: Policy = ["color", "translation", "cutout"],  # noqa: B006 (read only)
        target: Fraction = 0.6,
        kimg: Annotated[float, Gt(0)] = 500.0,
        interval: Annotated[int, Ge(1), Le(1000)] = 4,
    ) -> None:
        """`policy`: the transforms, in this order; `target`: desired r_t.

        `kimg`: thousands of reals in which the probability can go from 0 to 1; `interval`: D steps between adjustments.
        """
        super().__init__()
        self.policy, self.target, self.images, self.interval = [*policy], target, kimg * 1000, interval
        self.register_buffer("probability", torch.zeros((), dtype=torch.float64))
        self.register_buffer("signs", torch.zeros(3, dtype=torch.float64))

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        for name in self.policy:
            images = sometimes(TRANSFORMS[name], images, self.probability)
        return images

    def observe(self, real_logits: torch.Tensor, progress: Progress) -> dict[str, torch.Tensor]:
        seen = torch.full_like(self.signs, 1.0)
        seen[0], seen[1] = real_logits.sign().sum(), len(real_logits)
        self.signs += seen
        # On the device, without a sync.
        due = self.signs[2] >= self.interval
        step = torch.sign(self.signs[0] / self.signs[1] - self.target) * self.signs[1] / self.images
        self.probability.copy_(torch.where(due, (self.probability + step).clamp(0, 1), self.probability))
        self.signs *= ~due
        return {"augment_probability": self.probability.clone()}


augment = ADA
