"""R2: γ/2 E‖∇D‖² on fakes (Mescheder et al., arXiv 1801.04406, eq. 10), at every step, as R3GAN does."""

from __future__ import annotations

import torch

from ganealogy.adversary.schedule import ScheduledBySize, at, for_size
from ganealogy.adversary.turn import Penalty, Turn, gradients


class R2(Penalty):
    at_images = differentiates = True

    def __init__(self, gamma: ScheduledBySize) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, turn: Turn) -> torch.Tensor:
        """At the un-augmented fakes, through the augmentation that the loss saw them through."""
        gamma = at(for_size(self.gamma, turn.fakes.shape[-1]), turn.progress)
        return gamma / 2 * gradients(turn.fake_logits, turn.fakes).square().sum(1).mean()


def penalty(*, gamma: ScheduledBySize = 10.0) -> R2:
    """`gamma` grows with the number of pixels; R3GAN, with R1 beside it: .05 → .005 at 32, 2 → .2 at 64."""
    return R2(gamma)
