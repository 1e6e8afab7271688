"""Balanced consistency: D gives an image and its transform the same logit (Zhao et al., arXiv 2002.04724, alg. 1).

The transforms are the paper's: flip and shift by a few pixels.
"""

from __future__ import annotations

import torch

from ganealogy.adversary.augment._transforms import flip, shifted
from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty
from ganealogy.adversary.schedule import Scheduled, scheduled_value

REACH = 1 / 8
"""Largest shift, as a fraction of the side: 4 pixels of 32."""


class BCR(Penalty):
    def __init__(self, *, real_weight: Scheduled = 10.0, fake_weight: Scheduled = 10.0, flip: bool = True) -> None:
        """`real_weight`, `fake_weight`: the paper's λ_real and λ_fake. `flip: false` is for pictures that a
        mirror image would not be among, such as digits.
        """
        super().__init__()
        self.real_weight, self.fake_weight, self.flip = real_weight, fake_weight, flip

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return λ_real E[(D(x) - D(T(x)))²] + λ_fake E[(D(G(z)) - D(T(G(z))))²]."""
        real = (step.real_logits - step.discriminate(transformed(step.reals, self.flip))).square().mean()
        fake = (step.fake_logits - step.discriminate(transformed(step.fakes, self.flip))).square().mean()
        real_weight = scheduled_value(self.real_weight, step.progress)
        fake_weight = scheduled_value(self.fake_weight, step.progress)
        return real_weight * real + fake_weight * fake


def transformed(images: torch.Tensor, flipped: bool = True) -> torch.Tensor:
    """Flip (if `flipped`) and shift each image of (N, C, H, W) by its own draw; the border is mirrored."""
    return shifted(flip(images) if flipped else images, REACH, "reflect")


penalty = BCR
