"""The TensorFlow tutorial's game: one latent batch a step, and both gradients before either update.

D looks at the fakes once: what G's gradient passes through is what D's loss saw, dropout mask and augmentation
included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.gan import GAN
from ganealogy.adversary.penalties._base import DiscriminatorStep
from ganealogy.adversary.schedule import Progress


class Simultaneous:
    d_steps = 1

    def __init__(self, players: GAN) -> None:
        self.gan = players

    def step(
        self,
        reals: Callable[[int], torch.Tensor],
        labels: Callable[[int], torch.Tensor] | None = None,
        progress: Progress = 0.0,
    ) -> dict[str, torch.Tensor]:
        """One update of both; parameters, result and errors are those of `alternating`."""
        self.gan.progress(progress)
        with self.gan.arithmetic(penalised=True):
            return self.update(reals, labels, progress)

    def update(
        self,
        reals: Callable[[int], torch.Tensor],
        labels: Callable[[int], torch.Tensor] | None,
        progress: Progress,
    ) -> dict[str, torch.Tensor]:
        """Do the step at the rates that `step` has set."""
        gan = self.gan
        images, classes = reals(0), None if labels is None else labels(0)
        discriminate = gan.discriminator_fn(progress, classes, penalised=True)
        fakes = gan.generate_fakes(len(images), images, classes)
        images = gan.track_gradients(images)
        real, fake = discriminate(images), discriminate(fakes)
        d_loss, g_loss = gan.loss.discriminator(real, fake), gan.loss.generator(fake, real)
        penalty = gan.penalty(DiscriminatorStep(discriminate, images, fakes, real, fake, progress))
        gan.d_optimizer.backward(d_loss + penalty["penalty"] if penalty else d_loss, retain_graph=True)
        gan.g_optimizer.backward(g_loss)
        gan.g_optimizer.step()
        gan.d_optimizer.step()
        if gan.constrain is not None:
            gan.constrain()
        statistics = {"d_loss": d_loss, "g_loss": g_loss, **penalty, **gan.scores(real, fake)}
        return {name: value.detach() for name, value in statistics.items()}


def game(players: GAN, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> Simultaneous:
    """`d_steps`: 1, and the plan refuses another: there is one D pass on one latent batch."""
    return Simultaneous(players)
