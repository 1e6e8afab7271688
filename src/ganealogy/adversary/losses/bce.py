"""The original GAN loss: binary cross-entropy, non-saturating for G (Goodfellow et al., arXiv 1406.2661)."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le, Len
from torch.nn.functional import binary_cross_entropy_with_logits
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from ganealogy.adversary.losses._base import SumOfTerms

Probability = Annotated[float, Ge(0), Le(1)]


class Uniform(TypedDict):
    """A target drawn per term and step, one scalar per batch: {uniform: [low, high]}."""

    uniform: Annotated[list[Probability], Len(2, 2)]


Target = Probability | Uniform


class BCE(SumOfTerms):
    """Cross-entropy on logits: equal to a sigmoid followed by BCE, without overflow."""

    needs_reals = False

    def __init__(self, *, real_target: Target = 1.0, fake_target: Target = 0.0, generator_target: Target = 1.0) -> None:
        """`real_target`, `fake_target`: D's targets; `generator_target`: the target of G's fakes in G's step."""
        self.real_target, self.fake_target, self.generator_target = real_target, fake_target, generator_target

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cross-entropies of the reals to `real_target` and of the fakes to `fake_target`."""
        return self._term(real, self.real_target), self._term(fake, self.fake_target)

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """Return the cross-entropy of the fakes to `generator_target`."""
        return self._term(fake, self.generator_target)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return D's mean probability of "real"."""
        return logits.sigmoid().mean()

    @staticmethod
    def _term(logits: torch.Tensor, target: Target) -> torch.Tensor:
        if isinstance(target, dict):
            low, high = target["uniform"]
            value = torch.rand((), device=logits.device, dtype=logits.dtype) * (high - low) + low
        else:
            # Created on the device: copying a number there would force a sync.
            value = torch.full((), target, device=logits.device, dtype=logits.dtype)
        return binary_cross_entropy_with_logits(logits, value.expand_as(logits))


loss = BCE
