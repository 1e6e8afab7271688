"""The interface of a generator penalty, and the generator step that it receives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ganealogy.adversary.schedule import Progress


@dataclass(frozen=True)
class GeneratorStep:
    """What one G step offers to its penalties."""

    generator: nn.Module
    """In training mode. A penalty runs it anew, in float32."""
    latents: torch.Tensor
    """(N, d), fresh ones."""
    progress: Progress
    """Fraction of the budget that is done, for schedules."""


class GeneratorPenalty(nn.Module):
    """The class `generator_penalty` of each file in this folder: a term of G's loss.

    State between steps is kept in buffers. Random draws use torch's default generator.
    """

    methods: ClassVar[tuple[str, ...]] = ()
    """Methods of G that it calls, beyond the interface of an architecture."""

    every = 1
    """It is added in each `every`-th G step, the first included, `every` times as heavy: see `Penalty.every`."""

    def forward(self, step: GeneratorStep) -> torch.Tensor:
        """Return the scalar to add to G's loss, as if it were in each G step."""
        raise NotImplementedError
