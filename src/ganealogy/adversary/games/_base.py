"""The interface of a game: the order in which D and G are updated."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

from ganealogy.adversary.gan import GAN, GeneratorPenalties, Penalties
from ganealogy.adversary.schedule import Progress

Batch = Callable[[int], torch.Tensor]


class Phase(NamedTuple):
    """The penalties of one G update. Updates of the same phase do the same work."""

    discriminator: tuple[Penalties, ...]
    """Those of each D step."""
    generator: GeneratorPenalties


class Game(Protocol):
    """The class `game` of each file in this folder, built from a GAN and the recipe's parameters."""

    gan: GAN
    d_steps: int
    """D updates per G update."""
    batches: int
    """Batches of reals per G update: one per D update, and one more where G's loss compares fakes with fresh reals."""

    def phase(self, number: int) -> Phase:
        """Return the penalties of the G update `number`, which counts from 0."""

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update G once.

        `reals(i)`: batch (N, C, H, W), i < `batches`; `labels(i)`: its classes (N,), which the fakes share; `progress`:
        fraction of the budget that is done, for schedules; `number`: G updates before this one, for lazy penalties.

        Returns d_loss, its terms d_loss_real and d_loss_fake if it is a sum of two, g_loss, real_score, fake_score, and
        penalty and g_penalty where there is one: detached scalars, D's from its last step.

        Raises: Diverged before an optimizer step that would spoil the weights.
        """
