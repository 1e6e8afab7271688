"""The TensorFlow tutorial's game: one latent batch per step, and both gradients before either update.

D runs once on the fakes: G's gradient passes through the same dropout mask and augmentation as D's loss.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.games._base import Batch, Phase
from ganealogy.adversary.gan import GAN, Penalties
from ganealogy.adversary.penalties._base import DiscriminatorStep
from ganealogy.adversary.schedule import Progress


class Simultaneous:
    def __init__(self, gan: GAN, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> None:
        """`d_steps`: 1; the plan refuses other values, as D runs once on one latent batch."""
        self.gan, self.d_steps, self.batches = gan, d_steps, d_steps

    def phase(self, number: int) -> Phase:
        """Return the penalties of the only D step: see `Game.phase`."""
        return (self.gan.due_penalties(number),)

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update D and G once: see `Game.step`."""
        self.gan.set_progress(progress)
        (penalties,) = self.phase(number)
        with self.gan.arithmetic(penalties):
            return self.update(reals(0), None if labels is None else labels(0), progress, penalties)

    def update(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress, penalties: Penalties
    ) -> dict[str, torch.Tensor]:
        """Update both on (N, C, H, W) reals and as many fakes."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels, penalties)
        fakes = gan.generate_fakes(len(reals), reals, labels)
        reals = gan.track_gradients(reals, penalties)
        real, fake = discriminate(reals), discriminate(fakes)
        d_loss = gan.loss.discriminator(real, fake)
        g_loss = gan.loss.generator(fake, real)
        penalty = gan.penalty(DiscriminatorStep(discriminate, reals, fakes, real, fake, progress), penalties)
        gan.d_optimizer.backward(d_loss + penalty["penalty"] if penalty else d_loss, retain_graph=True)
        gan.g_optimizer.backward(g_loss)
        gan.g_optimizer.step()
        gan.d_optimizer.step()
        if gan.constrain is not None:
            gan.constrain()
        scalars = {"d_loss": d_loss, "g_loss": g_loss, **penalty, **gan.scores(real, fake, progress)}
        return {name: value.detach() for name, value in scalars.items()}


game = Simultaneous
