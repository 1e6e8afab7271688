"""Exponential moving average (EMA) of G's weights; grids and metrics use it where the recipe has one.

G circles around its equilibrium, and the average lies nearer to it (Yazıcı et al., arXiv 1806.04498).
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ganealogy.adversary.schedule import Scheduled, ScheduledFraction, scheduled_value


class EMA:
    """Average the parameters and copy the buffers.

    An average of spectral norm's vectors is not the singular vector of any weight, and BatchNorm's statistics are
    running means already. torch's AveragedModel does the same, but syncs with the GPU at each step.
    """

    def __init__(
        self,
        generator: nn.Module,
        budget_kimg: float,
        *,
        half_life_kimg: Scheduled | None = None,
        half_life_share: ScheduledFraction | None = None,
        ramp: float | None = None,
    ) -> None:
        """One half-life is given: `half_life_kimg`, as in StyleGAN2, or `half_life_share`, as a fraction of the budget.

        `ramp`: upper limit of the half-life, as a fraction of the training so far, so that the initial weights are
        forgotten.
        """
        self.half_life = half_life_share if half_life_kimg is None else half_life_kimg
        self.unit = budget_kimg if half_life_kimg is None else 1.0
        self.ramp, self.decay = ramp, 0.0
        self.source, self.generator = generator, copy.deepcopy(generator)
        """`generator` holds the averaged weights."""

    @torch.no_grad()
    def update(self, kimg: float, step_kimg: float, progress: float) -> None:
        """Update the average after a G step of `step_kimg` that brought the training to `kimg` and `progress`."""
        half_life = scheduled_value(self.half_life, progress) * self.unit
        if self.ramp is not None:
            half_life = min(half_life, self.ramp * kimg)
        self.decay = 0.5 ** (step_kimg / half_life) if half_life else 0.0
        started = kimg > step_kimg  # the average starts at the weights after the first step
        averages: list[torch.Tensor] = list(self.generator.parameters())
        weights: list[torch.Tensor] = list(self.source.parameters())
        torch._foreach_lerp_(averages, weights, 1 - self.decay if started else 1.0)
        if copies := list(self.generator.buffers()):
            torch._foreach_copy_(copies, list(self.source.buffers()))

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.generator.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.generator.load_state_dict(state)
