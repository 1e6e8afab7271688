"""Instance noise: white noise on reals and fakes gives both distributions the same support (arXiv 1610.04490, §3)."""

from __future__ import annotations

import torch

from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.schedule import Progress, Scheduled, scheduled_value


class InstanceNoise(Augmentation):
    def __init__(
        self,
        *,
        deviation: Scheduled = {"from": 0.1, "to": 0.0, "shape": "linear"},  # noqa: B006 (read only)
    ) -> None:
        """`deviation`: standard deviation of the noise, for pixel values in [-1, 1]."""
        super().__init__()
        self.deviation = deviation

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        if self.deviation == 0:
            return images
        return images + scheduled_value(self.deviation, progress) * torch.randn_like(images)


augment = InstanceNoise
