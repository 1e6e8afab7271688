"""DRAGAN: D's gradient has norm 1 around the reals (Kodali et al., arXiv 1705.07215, §2.3)."""

from __future__ import annotations

import torch
from torch.linalg import vector_norm

from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty, gradients
from ganealogy.adversary.schedule import Scheduled, scheduled_value
from ganealogy.runtime import distributed


class DRAGAN(Penalty):
    differentiates = True

    def __init__(self, *, weight: Scheduled = 10.0, deviation: Scheduled = 0.5) -> None:
        """`weight`: the paper's λ; `deviation`: δ's standard deviation, relative to that of the batch."""
        super().__init__()
        self.weight, self.deviation = weight, deviation

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return λ E[(‖∇D(x + δ)‖ - 1)²] with white noise δ."""
        deviation = scheduled_value(self.deviation, step.progress) * distributed.all_gather(step.reals).std()
        near = (step.reals + deviation * torch.randn_like(step.reals)).detach().requires_grad_()
        norms: torch.Tensor = vector_norm(gradients(step.discriminate(near), near), dim=1)
        return scheduled_value(self.weight, step.progress) * (norms - 1).square().mean()


penalty = DRAGAN
