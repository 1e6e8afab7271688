"""The TensorFlow tutorial's game: one latent batch a step, and both gradients before either update.

D looks at the fakes once: what G's gradient passes through is what D's loss saw, dropout mask and augmentation
included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.gan import Players
from ganealogy.adversary.penalties._base import Turn
from ganealogy.adversary.schedule import Progress


class Simultaneous:
    d_steps = 1

    def __init__(self, players: Players) -> None:
        self.players = players

    def step(
        self,
        reals: Callable[[int], torch.Tensor],
        labels: Callable[[int], torch.Tensor] | None = None,
        progress: Progress = 0.0,
    ) -> dict[str, torch.Tensor]:
        """One update of both; parameters, result and errors are those of `alternating`."""
        self.players.progress(progress)
        with self.players.arithmetic(penalised=True):
            return self.update(reals, labels, progress)

    def update(
        self,
        reals: Callable[[int], torch.Tensor],
        labels: Callable[[int], torch.Tensor] | None,
        progress: Progress,
    ) -> dict[str, torch.Tensor]:
        """Do the step at the rates that `step` has set."""
        play = self.players
        images, classes = reals(0), None if labels is None else labels(0)
        judge = play.judge(progress, classes, penalised=True)
        fakes = play.imagine(len(images), images, classes)
        images = play.watched(images)
        real, fake = judge(images), judge(fakes)
        d_loss, g_loss = play.loss.discriminator(real, fake), play.loss.generator(fake, real)
        penalty = play.penalty(Turn(judge, images, fakes, real, fake, progress))
        play.d_update.backward(d_loss + penalty["penalty"] if penalty else d_loss, retain_graph=True)
        play.g_update.backward(g_loss)
        play.g_update.step()
        play.d_update.step()
        if play.constrain is not None:
            play.constrain()
        statistics = {"d_loss": d_loss, "g_loss": g_loss, **penalty, **play.scores(real, fake)}
        return {name: value.detach() for name, value in statistics.items()}


def game(players: Players, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> Simultaneous:
    """`d_steps`: 1, and the plan refuses another: there is one D pass on one latent batch."""
    return Simultaneous(players)
