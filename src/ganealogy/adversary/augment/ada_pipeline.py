"""ADA's augmentation pipeline with a given probability, without the adaptation (Karras et al., arXiv 2006.06676).

R3GAN uses it with colours at half of the probability, and cutout (arXiv 2501.05441).
"""

from __future__ import annotations

import torch

from ganealogy.adversary.augment._base import Augmentation
from ganealogy.adversary.augment._pipeline import Pipeline
from ganealogy.adversary.schedule import Fraction, Progress, ScheduledFraction, scheduled_value


class ADAPipeline(Augmentation):
    def __init__(
        self,
        *,
        probability: ScheduledFraction,
        blit: Fraction = 1.0,
        geometry: Fraction = 1.0,
        color: Fraction = 1.0,
        cutout: Fraction = 0.0,
    ) -> None:
        """`probability`: of each transform, per image. The others: fractions of it for each group of transforms.

        `blit`: flip, quarter turns, shifts by whole pixels; `geometry`: scale, rotation, stretch, shifts by fractions;
        `color`: brightness, contrast, inverted luma, hue, saturation.
        """
        super().__init__()
        self.probability, self.pipeline = probability, Pipeline(blit, geometry, color, cutout)

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        if self.probability == 0:
            return images
        return self.pipeline(images, scheduled_value(self.probability, progress))


augment = ADAPipeline
