"""The usual game: `d_steps` D steps, each on its own batch and fresh fakes, then one G step on fresh latents.

Where G's loss compares fakes with reals, G's step has a batch of its own, as in R3GAN's code: D has just been updated
on the last one.

Steps return detached scalars; they log nothing and read no files. N images, C channels.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.games._base import Batch, Phase
from ganealogy.adversary.gan import GAN, GeneratorPenalties, Penalties
from ganealogy.adversary.penalties._base import DiscriminatorStep
from ganealogy.adversary.schedule import Progress


class Alternating:
    def __init__(self, gan: GAN, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1, reuse_fakes: bool = False) -> None:
        """`d_steps`: D updates per G update.

        `reuse_fakes`: G's step has the fakes, and the reals, of the D step before it: G runs once less.
        """
        self.gan, self.d_steps, self.reuse_fakes = gan, d_steps, reuse_fakes
        self.batches = d_steps + (gan.loss.needs_reals and not reuse_fakes)

    def phase(self, number: int) -> Phase:
        """Return the penalties of an update: see `Game.phase`."""
        d_steps = range(number * self.d_steps, (number + 1) * self.d_steps)
        return Phase(tuple(map(self.gan.due_penalties, d_steps)), self.gan.due_generator_penalties(number))

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update D `d_steps` times and G once: see `Game.step`."""
        self.gan.set_progress(progress)
        phase = self.phase(number)
        for index, penalties in enumerate(phase.discriminator):
            images, classes = reals(index), None if labels is None else labels(index)
            reused = self.reuse_fakes and index == self.d_steps - 1
            with self.gan.arithmetic(penalties):
                with torch.set_grad_enabled(reused):  # D's loss needs no graph through G
                    fakes = self.gan.generate_fakes(len(images), images, classes)
                scalars = self.discriminator_step(images, fakes.detach(), classes, progress, penalties)
        if self.batches > self.d_steps:
            images, classes = reals(self.d_steps), None if labels is None else labels(self.d_steps)
        with self.gan.arithmetic():
            if not self.reuse_fakes:
                fakes = self.gan.generate_fakes(len(images), images, classes)
            return scalars | self.generator_step(images, fakes, classes, progress, phase.generator)

    def discriminator_step(
        self,
        reals: torch.Tensor,
        fakes: torch.Tensor,
        labels: torch.Tensor | None,
        progress: Progress,
        penalties: Penalties,
    ) -> dict[str, torch.Tensor]:
        """Update D on (N, C, H, W) reals and as many fakes."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels, penalties)
        reals, fakes = gan.track_gradients(reals, penalties), gan.track_gradients(fakes, penalties)
        real, fake = discriminate(reals), discriminate(fakes)
        losses = gan.discriminator_loss(real, fake)
        penalty = gan.penalty(DiscriminatorStep(discriminate, reals, fakes, real, fake, progress), penalties)
        loss = losses["d_loss"]
        gan.d_optimizer.backward(loss + penalty["penalty"] if penalty else loss)
        gan.d_optimizer.step()
        if gan.constrain is not None:
            gan.constrain()
        scalars = {**losses, **penalty, **gan.scores(real, fake, progress)}
        return {name: value.detach() for name, value in scalars.items()}

    def generator_step(
        self,
        reals: torch.Tensor,
        fakes: torch.Tensor,
        labels: torch.Tensor | None,
        progress: Progress,
        penalties: GeneratorPenalties = (),
    ) -> dict[str, torch.Tensor]:
        """Update G on its images (N, C, H, W); only some losses use the reals."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels)
        fake, real = discriminate(fakes), None
        if gan.loss.needs_reals:
            with torch.no_grad():  # D's output on reals does not depend on G
                real = discriminate(reals)
        loss = gan.loss.generator(fake, real)
        penalty = gan.generator_penalty(reals, progress, penalties)
        gan.g_optimizer.backward(loss + penalty["g_penalty"] if penalty else loss)
        gan.g_optimizer.step()
        return {name: value.detach() for name, value in {"g_loss": loss, **penalty}.items()}


game = Alternating
