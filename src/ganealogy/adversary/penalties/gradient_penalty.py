"""WGAN-GP: D's gradient has norm 1 between reals and fakes (Gulrajani et al., arXiv 1704.00028, eq. 3)."""

from __future__ import annotations

import torch
from torch.linalg import vector_norm

from ganealogy.adversary.penalties._base import DiscriminatorStep, Every, Penalty, gradients
from ganealogy.adversary.schedule import Scheduled, scheduled_value


class GradientPenalty(Penalty):
    differentiates = True

    def __init__(self, *, weight: Scheduled = 10.0, every: Every = 1) -> None:
        """`weight`: the paper's λ; `every`: D steps per use, `every` times as heavy; 1 in the paper."""
        super().__init__()
        self.weight, self.every = weight, every

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return λ E[(‖∇D(x̂)‖ - 1)²] with x̂ = εx + (1 - ε)G(z), ε ~ U(0, 1) per pair."""
        epsilon = torch.rand(len(step.reals), 1, 1, 1, device=step.reals.device, dtype=step.reals.dtype)
        between = (epsilon * step.reals + (1 - epsilon) * step.fakes).detach().requires_grad_()
        norms: torch.Tensor = vector_norm(gradients(step.discriminate(between), between), dim=1)
        return scheduled_value(self.weight, step.progress) * (norms - 1).square().mean()


penalty = GradientPenalty
