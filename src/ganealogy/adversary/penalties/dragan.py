"""DRAGAN: D's gradient has norm 1 around the reals (Kodali et al., arXiv 1705.07215, §2.3).

The noise is that of the authors' code. The paper's δ ~ N(0, cI) is nine times as strong (E‖δ‖²).
"""

from __future__ import annotations

import torch
from torch.linalg import vector_norm

from ganealogy.adversary.penalties._base import DiscriminatorStep, Every, Penalty, gradients
from ganealogy.adversary.schedule import Scheduled, scheduled_value
from ganealogy.runtime import distributed


class DRAGAN(Penalty):
    differentiates = True

    def __init__(self, *, weight: Scheduled = 10.0, deviation: Scheduled = 0.5, every: Every = 1) -> None:
        """`weight`: the paper's λ; `deviation`: c, the largest δ, in standard deviations of the batch.

        `every`: D steps per use, `every` times as heavy; 1 in the authors' code.
        """
        super().__init__()
        self.weight, self.deviation, self.every = weight, deviation, every

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return λ E[(‖∇D(x + αδ)‖ - 1)²] with δ ~ U(0, c σ) per pixel and α ~ U(0, 1) per image."""
        largest = scheduled_value(self.deviation, step.progress) * distributed.all_gather(step.reals).std(correction=0)
        noise = largest * torch.rand_like(step.reals)
        alpha = torch.rand(len(step.reals), 1, 1, 1, device=step.reals.device, dtype=step.reals.dtype)
        near = (step.reals + alpha * noise).detach().requires_grad_()
        norms: torch.Tensor = vector_norm(gradients(step.discriminate(near), near), dim=1)
        return scheduled_value(self.weight, step.progress) * (norms - 1).square().mean()


penalty = DRAGAN
