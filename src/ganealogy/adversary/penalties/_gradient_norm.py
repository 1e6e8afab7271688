"""γ/2 E‖∇D‖² on reals or on fakes: R1 and R2 (Mescheder et al., arXiv 1801.04406, eqs. 9 and 10)."""

from __future__ import annotations

from typing import Literal

import torch

from ganealogy.adversary.penalties._base import DiscriminatorStep, Every, Penalty, gradients
from ganealogy.adversary.schedule import ScheduledBySize, scheduled_value, value_for_size


class GradientNorm(Penalty):
    at_images = differentiates = True
    side: Literal["reals", "fakes"]

    def __init__(self, *, gamma: ScheduledBySize = 10.0, every: Every = 1) -> None:
        """`gamma` grows with the image size: R3GAN's falls from .05 at 32, 2 at 64 and 150 at 256 pixels to a tenth.

        `every`: D steps per use, `every` times as heavy: 16 in StyleGAN2, 1 in R3GAN.
        """
        super().__init__()
        self.gamma, self.every = gamma, every

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Differentiate the loss's own logits, behind its augmentation, with respect to the images before it."""
        reals = self.side == "reals"
        images, logits = (step.reals, step.real_logits) if reals else (step.fakes, step.fake_logits)
        gamma = scheduled_value(value_for_size(self.gamma, images.shape[-1]), step.progress)
        return gamma / 2 * gradients(logits, images).square().sum(1).mean()
