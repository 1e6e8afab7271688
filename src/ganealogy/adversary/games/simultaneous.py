"""The TensorFlow tutorial's game: one latent batch per step, and both gradients before either update.

D runs once on the fakes: G's gradient passes through the same dropout mask and augmentation as D's loss.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.games._base import Batch, Game, Phase
from ganealogy.adversary.gan import GAN
from ganealogy.adversary.penalties._base import DiscriminatorStep
from ganealogy.adversary.schedule import Progress


class Simultaneous(Game):
    def __init__(self, gan: GAN, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> None:
        """`d_steps`: 1; the plan refuses other values, as D runs once on one latent batch."""
        self.gan = gan

    def d_updates(self, number: int) -> int:
        """Return the D updates of the first G updates: as many."""
        return number

    def batches(self, number: int) -> int:
        """Return the batches of the first G updates: as many."""
        return number

    def phase(self, number: int) -> Phase:
        """Return the penalties of an update: see `Game.phase`."""
        return Phase((self.gan.due_penalties(number),), self.gan.due_generator_penalties(number))

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update D and G once: see `Game.step`."""
        self.gan.set_progress(progress)
        phase = self.phase(number)
        with self.gan.arithmetic(*phase.discriminator):
            return self.update(reals(0), None if labels is None else labels(0), progress, phase)

    def update(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress, phase: Phase
    ) -> dict[str, torch.Tensor]:
        """Update both on (N, C, H, W) reals and as many fakes."""
        gan, (penalties,) = self.gan, phase.discriminator
        discriminate = gan.discriminator_fn(progress, labels, penalties)
        fakes = gan.generate_fakes(len(reals), reals, labels)
        reals = gan.track_gradients(reals, penalties)
        real, fake = discriminate(reals), discriminate(fakes)
        losses = gan.discriminator_loss(real, fake)
        g_loss = gan.loss.generator(fake, real)
        penalty = gan.penalty(DiscriminatorStep(discriminate, reals, fakes, real, fake, progress), penalties)
        g_penalty = gan.generator_penalty(reals, progress, phase.generator)
        d_loss = losses["d_loss"]
        gan.d_optimizer.backward(d_loss + penalty["penalty"] if penalty else d_loss, retain_graph=True)
        gan.g_optimizer.backward(g_loss + g_penalty["g_penalty"] if g_penalty else g_loss)
        gan.g_optimizer.step()
        gan.d_optimizer.step()
        if gan.constrain is not None:
            gan.constrain()
        scores = gan.scores(real, fake, progress)
        scalars = {**losses, "g_loss": g_loss, **penalty, **g_penalty, **scores}
        return {name: value.detach() for name, value in scalars.items()}


game = Simultaneous
