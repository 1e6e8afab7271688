"""DiffAugment: transform reals and fakes alike, differentiably, before D (Zhao et al., arXiv 2006.10738)."""

from __future__ import annotations

import torch

from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.augment._transforms import TRANSFORMS, Policy, sometimes
from ganealogy.adversary.schedule import Progress, ScheduledFraction, scheduled_value


class DiffAugment(Augmentation):
    def __init__(
        self,
        *,
        policy: Policy = ["color", "translation", "cutout"],  # noqa: B006 (read only)
        probability: ScheduledFraction = 1.0,
    ) -> None:
        """`policy`: transforms, in this order; `probability`: of each transform, per image; 1 in the paper."""
        super().__init__()
        self.policy, self.probability = [*policy], probability

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        for name in self.policy if self.probability else []:
            if self.probability == 1:  # no draw is needed
                images = TRANSFORMS[name](images)
            else:
                images = sometimes(TRANSFORMS[name], images, scheduled_value(self.probability, progress))
        return images


augment = DiffAugment
