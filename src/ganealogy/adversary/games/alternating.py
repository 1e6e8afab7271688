"""The usual game: `d_steps` D steps, each on its own batch and on fresh fakes, then one G step on fresh latents.

Nothing here logs, reads files or knows of time; a step returns detached statistics. N images, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.gan import GAN
from ganealogy.adversary.penalties._base import DiscriminatorStep
from ganealogy.adversary.schedule import Progress


class Alternating:
    def __init__(self, players: GAN, d_steps: int) -> None:
        self.gan, self.d_steps = players, d_steps

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
        self.gan.progress(progress)
        for index in range(self.d_steps):
            images, classes = reals(index), None if labels is None else labels(index)
            with self.gan.arithmetic(penalised=True):
                statistics = self.discriminator_step(images, classes, progress)
        with self.gan.arithmetic(penalised=False):
            return statistics | self.generator_step(images, classes, progress)

    def discriminator_step(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress
    ) -> dict[str, torch.Tensor]:
        """One D update on (N, C, H, W) reals and as many fresh fakes."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels, penalised=True)
        with torch.no_grad():  # G learns nothing here: its graph would be built and thrown away
            fakes = gan.generate_fakes(len(reals), reals, labels)
        reals, fakes = gan.track_gradients(reals), gan.track_gradients(fakes)
        real, fake = discriminate(reals), discriminate(fakes)
        loss = gan.loss.discriminator(real, fake)
        penalty = gan.penalty(DiscriminatorStep(discriminate, reals, fakes, real, fake, progress))
        gan.d_optimizer.backward(loss + penalty["penalty"] if penalty else loss)
        gan.d_optimizer.step()
        if gan.constrain is not None:
            gan.constrain()
        statistics = {"d_loss": loss, **penalty, **gan.scores(real, fake)}
        return {name: value.detach() for name, value in statistics.items()}

    def generator_step(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress
    ) -> dict[str, torch.Tensor]:
        """One G update on fresh latents, as many as there are reals; D looks at those only where the loss does."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels)
        fake = discriminate(gan.generate_fakes(len(reals), reals, labels))
        real = None
        if gan.loss.needs_reals:
            with torch.no_grad():  # nothing on the way from reals to logits is G's
                real = discriminate(reals)
        loss = gan.loss.generator(fake, real)
        gan.g_optimizer.backward(loss)
        gan.g_optimizer.step()
        return {"g_loss": loss.detach()}


def game(players: GAN, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> Alternating:
    """`d_steps`: D updates a G update."""
    return Alternating(players, d_steps)
