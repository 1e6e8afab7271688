"""The usual game: `d_steps` D steps, each on its own batch and on fresh fakes, then one G step on fresh latents.

Nothing here logs, reads files or knows of time; a step returns detached statistics. N images, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.gan import Players
from ganealogy.adversary.penalties._base import Turn
from ganealogy.adversary.schedule import Progress


class Alternating:
    def __init__(self, players: Players, d_steps: int) -> None:
        self.players, self.d_steps = players, d_steps

    def step(
        self,
        reals: Callable[[int], torch.Tensor],
        labels: Callable[[int], torch.Tensor] | None = None,
        progress: Progress = 0.0,
    ) -> dict[str, torch.Tensor]:
        """One G update.

        `reals(i)`: the batch (N, C, H, W) of this step's i-th D step; `labels(i)`: its classes (N,), which the fakes
        are asked for too; `progress`: the share of the budget that is done, for schedules.

        Returns d_loss, g_loss, real_score, fake_score, and penalty where there is one: detached scalars, D's from its
        last step. Raises: Diverged before the optimizer step that would have spoilt the weights.
        """
        self.players.progress(progress)
        for index in range(self.d_steps):
            images, classes = reals(index), None if labels is None else labels(index)
            with self.players.arithmetic(penalised=True):
                statistics = self.discriminator_step(images, classes, progress)
        with self.players.arithmetic(penalised=False):
            return statistics | self.generator_step(images, classes, progress)

    def discriminator_step(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress
    ) -> dict[str, torch.Tensor]:
        """One D update on (N, C, H, W) reals and as many fresh fakes."""
        play = self.players
        judge = play.judge(progress, labels, penalised=True)
        with torch.no_grad():  # G learns nothing here: its graph would be built and thrown away
            fakes = play.imagine(len(reals), reals, labels)
        reals, fakes = play.watched(reals), play.watched(fakes)
        real, fake = judge(reals), judge(fakes)
        loss = play.loss.discriminator(real, fake)
        penalty = play.penalty(Turn(judge, reals, fakes, real, fake, progress))
        play.d_update.backward(loss + penalty["penalty"] if penalty else loss)
        play.d_update.step()
        if play.constrain is not None:
            play.constrain()
        statistics = {"d_loss": loss, **penalty, **play.scores(real, fake)}
        return {name: value.detach() for name, value in statistics.items()}

    def generator_step(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress
    ) -> dict[str, torch.Tensor]:
        """One G update on fresh latents, as many as there are reals; D looks at those only where the loss does."""
        play = self.players
        judge = play.judge(progress, labels)
        fake = judge(play.imagine(len(reals), reals, labels))
        real = None
        if play.loss.needs_reals:
            with torch.no_grad():  # nothing on the way from reals to logits is G's
                real = judge(reals)
        loss = play.loss.generator(fake, real)
        play.g_update.backward(loss)
        play.g_update.step()
        return {"g_loss": loss.detach()}


def game(players: Players, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> Alternating:
    """`d_steps`: D updates a G update."""
    return Alternating(players, d_steps)
