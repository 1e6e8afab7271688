"""The interface of a game: the order in which D and G are updated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from ganealogy.adversary.gan import GAN
from ganealogy.adversary.schedule import Progress

Batch = Callable[[int], torch.Tensor]


class Game(Protocol):
    """The class `game` of each file in this folder, built from a GAN and the recipe's parameters."""

    gan: GAN
    d_steps: int
    """D updates per G update."""

    def step(self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0) -> dict[str, torch.Tensor]:
        """Update G once.

        `reals(i)`: batch (N, C, H, W) of the i-th D step; `labels(i)`: its classes (N,), which the fakes share;
        `progress`: fraction of the budget that is done, for schedules.

        Returns d_loss, g_loss, real_score, fake_score, and penalty where there is one: detached scalars, D's from its
        last step. Raises: Diverged before an optimizer step that would spoil the weights.
        """
