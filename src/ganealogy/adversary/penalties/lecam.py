"""LeCam: keep D's logits near the running mean of the other side (Tseng et al., arXiv 2104.03310).

The authors' code differs from eq. 5: only D(x) above the fakes' mean and D(G(z)) below the reals' mean are penalised,
after a start.
"""

from __future__ import annotations

import torch
from torch.nn.functional import relu

from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty, of_images
from ganealogy.adversary.schedule import Decay, Scheduled, Until, scheduled_value


class LeCam(Penalty):
    anchors: torch.Tensor
    """(2,): running means of D's logits on reals and on fakes."""

    def __init__(self, *, weight: Scheduled = 0.3, decay: Decay = 0.99, start: Until = 0.004) -> None:
        """`weight`: the paper's λ; `decay`: fraction of the running means kept per step.

        `start`: fraction of the budget before the penalty; until then the means are those of the last batch. The
        authors start after 1,000 of 250,000 steps.
        """
        super().__init__()
        self.weight, self.decay, self.start = weight, decay, start
        self.register_buffer("anchors", torch.zeros(2, dtype=torch.float64))

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return λ (E[max(0, D(x) - α_F)²] + E[max(0, α_R - D(G(z)))²]), and 0 until the start."""
        real, fake = of_images(step.real_logits), of_images(step.fake_logits)
        with torch.no_grad():
            now = torch.stack([real.mean(), fake.mean()]).to(self.anchors.dtype)
            # Comparisons are bools, or tensors on the device: as factors of a tensor, both give the same bits.
            self.anchors.copy_(now + (self.anchors - now) * (step.progress >= self.start) * self.decay)
        anchors = self.anchors.to(real.dtype).clone()
        penalty = relu(real - anchors[1]).square().mean() + relu(anchors[0] - fake).square().mean()
        return scheduled_value(self.weight, step.progress) * (penalty * (step.progress > self.start))


penalty = LeCam
