"""The running mean of G's weights: what people see and what is measured, where a recipe asks for it.

G itself goes on circling around its goal; the mean lies nearer to it (Yazıcı et al., arXiv 1806.04498).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ganealogy.adversary.schedule import Scheduled, scheduled_value


class EMA:
    """Parameters are averaged. Buffers are copied: the mean of spectral norm's vectors is none of any weight's, and
    BatchNorm's statistics are running means already.

    torch's AveragedModel does the same, but has its host wait for a GPU at every step.
    """

    def __init__(self, generator: nn.Module, *, half_life_kimg: Scheduled, ramp: float | None) -> None:
        """`ramp`: the half-life is at most this share of the training so far, so that the first weights are forgotten.

        Half-lives in kimg, as StyleGAN2 and its descendants have them.
        """
        self.half_life_kimg, self.ramp, self.decay = half_life_kimg, ramp, 0.0
        self.source, self.generator = generator, copy.deepcopy(generator)
        """`generator` is the mean generator."""

    @torch.no_grad()
    def update(self, kimg: float, step_kimg: float, progress: float) -> None:
        """After a G step of `step_kimg` thousand images that brought the training to `kimg` and `progress`."""
        half_life = scheduled_value(self.half_life_kimg, progress)
        if self.ramp is not None:
            half_life = min(half_life, self.ramp * kimg)
        self.decay = 0.5 ** (step_kimg / half_life) if half_life else 0.0
        begun = kimg > step_kimg  # the first weights are those after the first step, not those before it
        means: list[torch.Tensor] = list(self.generator.parameters())
        weights: list[torch.Tensor] = list(self.source.parameters())
        torch._foreach_lerp_(means, weights, 1 - self.decay if begun else 1.0)
        if copies := list(self.generator.buffers()):
            torch._foreach_copy_(copies, list(self.source.buffers()))

    def state_dict(self) -> dict[str, Any]:
        return self.generator.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state)
