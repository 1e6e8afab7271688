"""The original game: binary cross-entropy, G's term non-saturating (Goodfellow et al., arXiv 1406.2661)."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le, Len
from torch.nn.functional import binary_cross_entropy_with_logits
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

Probability = Annotated[float, Ge(0), Le(1)]


class Uniform(TypedDict):
    """A target drawn anew for each term of each step, one scalar a batch: {uniform: [low, high]}."""

    uniform: Annotated[list[Probability], Len(2, 2)]


Target = Probability | Uniform


class BCE:
    """Cross-entropy on logits: the same function as a sigmoid followed by BCE, without its overflow."""

    needs_reals = False

    def __init__(self, real_target: Target, fake_target: Target, generator_target: Target) -> None:
        self.real_target, self.fake_target, self.generator_target = real_target, fake_target, generator_target

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """D's logits on reals (N,) and on fakes (N,) → scalar: the real term plus the fake term."""
        return self._term(real, self.real_target) + self._term(fake, self.fake_target)

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """D's logits on fakes (N,) → scalar."""
        return self._term(fake, self.generator_target)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """D's mean belief that the images are real, in [0, 1]."""
        return logits.sigmoid().mean()

    @staticmethod
    def _term(logits: torch.Tensor, target: Target) -> torch.Tensor:
        if isinstance(target, dict):
            low, high = target["uniform"]
            value = torch.rand((), device=logits.device, dtype=logits.dtype) * (high - low) + low
        else:
            # Made on the device: a number copied there makes the host wait for all that was asked of a GPU before.
            value = torch.full((), target, device=logits.device, dtype=logits.dtype)
        return binary_cross_entropy_with_logits(logits, value.expand_as(logits))


def loss(*, real_target: Target = 1.0, fake_target: Target = 0.0, generator_target: Target = 1.0) -> BCE:
    """`real_target`, `fake_target`: what D is trained towards; `generator_target`: what G makes D say of its fakes."""
    return BCE(real_target, fake_target, generator_target)
