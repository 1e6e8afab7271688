"""LeCam: keep D's logits near the running mean of the other side (Tseng et al., arXiv 2104.03310, eq. 5)."""

from __future__ import annotations

import torch

from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty
from ganealogy.adversary.schedule import Decay, Scheduled, scheduled_value


class LeCam(Penalty):
    anchors: torch.Tensor
    """(3,): running means of D's logits on reals and on fakes, and 1 after the first step."""

    def __init__(self, *, weight: Scheduled = 0.3, decay: Decay = 0.99) -> None:
        """`weight`: the paper's λ; `decay`: fraction of the running means kept per step."""
        super().__init__()
        self.weight, self.decay = weight, decay
        self.register_buffer("anchors", torch.zeros(3, dtype=torch.float64))

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return λ (E[(D(x) - α_F)²] + E[(D(G(z)) - α_R)²])."""
        real, fake = step.real_logits, step.fake_logits
        with torch.no_grad():
            now = torch.stack([real.mean(), fake.mean(), torch.ones_like(real.mean())]).double()
            # The running means start at the first batch's.
            self.anchors.copy_(torch.where(self.anchors[2] == 0, now, now.lerp(self.anchors, self.decay)))
        anchors = self.anchors.to(real.dtype).clone()
        return scheduled_value(self.weight, step.progress) * (
            (real - anchors[1]).square().mean() + (fake - anchors[0]).square().mean()
        )


penalty = LeCam
