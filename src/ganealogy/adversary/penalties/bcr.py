"""Balanced consistency: D says the same of an image and of its transform (Zhao et al., arXiv 2002.04724, algorithm 1).

The transforms are the paper's: flip and shift by a few pixels.
"""

from __future__ import annotations

import torch

from ganealogy.adversary.augment._transforms import flip, shifted
from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty
from ganealogy.adversary.schedule import Scheduled, scheduled_value

REACH = 1 / 8
"""Four pixels at 32."""


class BCR(Penalty):
    def __init__(self, real_weight: Scheduled, fake_weight: Scheduled) -> None:
        super().__init__()
        self.real_weight, self.fake_weight = real_weight, fake_weight

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """λ_real E[(D(x) - D(T(x)))²] + λ_fake E[(D(G(z)) - D(T(G(z))))²]."""
        real = (step.real_logits - step.discriminate(transformed(step.reals))).square().mean()
        fake = (step.fake_logits - step.discriminate(transformed(step.fakes))).square().mean()
        return (
            scheduled_value(self.real_weight, step.progress) * real
            + scheduled_value(self.fake_weight, step.progress) * fake
        )


def transformed(images: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), each under a draw of its own; what enters at the border mirrors what is there."""
    return shifted(flip(images), REACH, "reflect")


def penalty(*, real_weight: Scheduled = 10.0, fake_weight: Scheduled = 10.0) -> BCR:
    """The paper's λ_real and λ_fake."""
    return BCR(real_weight, fake_weight)
