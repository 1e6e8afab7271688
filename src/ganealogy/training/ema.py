"""The running mean of G's weights: what people see and what is measured, where a recipe asks for it.

G itself goes on circling around its goal; the mean lies nearer to it (Yazıcı et al., arXiv 1806.04498).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ganealogy.adversary.schedule import Scheduled, at


class EMA:
    """Parameters are averaged. Buffers are copied: the mean of spectral norm's vectors is none of any weight's, and
    BatchNorm's statistics are running means already."""

    def __init__(self, generator: nn.Module, *, half_life_kimg: Scheduled, ramp: float | None) -> None:
        """`ramp`: the half-life is at most this share of the training so far, so that the first weights are forgotten.

        Half-lives in kimg, as StyleGAN2 and its descendants have them.
        """
        self.source, self.half_life_kimg, self.ramp, self.decay = generator, half_life_kimg, ramp, 0.0
        self.model = AveragedModel(generator, multi_avg_fn=self._average)

    @property
    def generator(self) -> nn.Module:
        """The mean generator."""
        mean: nn.Module = self.model.module
        return mean

    def update(self, kimg: float, step_kimg: float, progress: float) -> None:
        """After a G step of `step_kimg` thousand images that brought the training to `kimg` and `progress`."""
        half_life = at(self.half_life_kimg, progress)
        if self.ramp is not None:
            half_life = min(half_life, self.ramp * kimg)
        self.decay = 0.5 ** (step_kimg / half_life) if half_life else 0.0
        self.model.update_parameters(self.source)

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state)

    def _average(self, means: Any, weights: Any, _updates: Any) -> None:
        torch._foreach_lerp_(means, weights, 1 - self.decay)
