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
    g_steps: int = 1
    """G updates, or epochs of them, after which the order repeats itself."""
    batches_per_epoch: int = 1
    """Of the training pictures. The training loop sets it."""

    def d_updates(self, number: int) -> int:
        """Return the D updates that belong to the first `number` G updates."""

    def batches(self, number: int) -> int:
        """Return the batches of reals that the first `number` G updates take; the next one takes those after them."""

    def phase(self, number: int) -> Phase:
        """Return the penalties of the G update `number`, which counts from 0."""

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update G once.

        `reals(i)`: batch (N, C, H, W), i < `batches(number + 1) - batches(number)`; `labels(i)`: its classes (N,), of
        the fakes, too; `progress`: fraction of the budget that is done, for schedules; `number`: G updates before this
        one, for lazy penalties.

        Returns d_loss, its terms d_loss_real and d_loss_fake if it is a sum of two, g_loss, real_score, fake_score, and
        penalty and g_penalty where there is one: detached scalars, D's from its last step.

        Raises: Diverged before an optimizer step that would spoil the weights.
        """
