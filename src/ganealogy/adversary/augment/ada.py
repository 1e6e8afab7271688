"""Adaptive discriminator augmentation: stronger as D overfits (Karras et al., arXiv 2006.06676).

The overfitting heuristic is r_t = E[sign(D(x))] on training reals (eq. 1).
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.augment._pipeline import Pipeline
from ganealogy.adversary.schedule import Fraction, Progress, Until


class ADA(Augmentation):
    probability: torch.Tensor
    signs: torch.Tensor
    """(3,): since the last adjustment, the sum of signs, the images and the D steps."""
    adjusted: torch.Tensor
    """Progress at the last adjustment."""

    def __init__(
        self,
        *,
        target: Fraction = 0.6,
        share: Until = 0.02,
        interval: Annotated[int, Ge(1), Le(1000)] = 4,
        blit: Fraction = 1.0,
        geometry: Fraction = 1.0,
        color: Fraction = 1.0,
        cutout: Fraction = 0.0,
    ) -> None:
        """`target`: desired r_t; `share`: fraction of the budget in which the probability can go from 0 to 1.

        The authors' 500 of 25,000 kimg are 0.02; a training of few steps needs more, as its adjustments are few and
        large. `interval`: D steps between two of them. The others as in `ada_pipeline`, by default the authors' `bgc`.
        """
        super().__init__()
        self.target, self.share, self.interval = target, share, interval
        self.pipeline = Pipeline(blit, geometry, color, cutout)
        self.register_buffer("probability", torch.zeros((), dtype=torch.float64))
        self.register_buffer("signs", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("adjusted", torch.zeros((), dtype=torch.float64))

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        return self.pipeline(images, self.probability)

    def observe(self, real_logits: torch.Tensor, progress: Progress) -> dict[str, torch.Tensor]:
        seen = torch.full_like(self.signs, 1.0)
        seen[0] = real_logits.sign().sum()
        seen[1].fill_(len(real_logits))  # an assigned number would be a copy from the host
        self.signs += seen
        # On the device, without a sync.
        due = self.signs[2] >= self.interval
        step = torch.sign(self.signs[0] / self.signs[1] - self.target) * (progress - self.adjusted) / self.share
        self.probability.copy_(torch.where(due, (self.probability + step).clamp(0, 1), self.probability))
        self.adjusted.copy_(torch.where(due, progress, self.adjusted))
        self.signs *= ~due
        return {"augment_probability": self.probability.clone()}


augment = ADA
