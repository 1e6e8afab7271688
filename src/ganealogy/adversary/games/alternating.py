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
    def __init__(self, gan: GAN, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> None:
        """`d_steps`: D updates per G update."""
        self.gan, self.d_steps = gan, d_steps
        self.batches = d_steps + gan.loss.needs_reals

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
            with self.gan.arithmetic(penalties):
                scalars = self.discriminator_step(images, classes, progress, penalties)
        if self.batches > self.d_steps:
            images, classes = reals(self.d_steps), None if labels is None else labels(self.d_steps)
        with self.gan.arithmetic():
            return scalars | self.generator_step(images, classes, progress, phase.generator)

    def discriminator_step(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress, penalties: Penalties
    ) -> dict[str, torch.Tensor]:
        """Update D on (N, C, H, W) reals and as many fresh fakes."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels, penalties)
        with torch.no_grad():  # D's loss needs no graph through G
            fakes = gan.generate_fakes(len(reals), reals, labels)
        reals, fakes = gan.track_gradients(reals, penalties), gan.track_gradients(fakes, penalties)
        real_logits, fake_logits = discriminate(reals), discriminate(fakes)
        loss = gan.loss.discriminator(real_logits, fake_logits)
        step = DiscriminatorStep(discriminate, reals, fakes, real_logits, fake_logits, progress)
        penalty = gan.penalty(step, penalties)
        gan.d_optimizer.backward(loss + penalty["penalty"] if penalty else loss)
        gan.d_optimizer.step()
        if gan.constrain is not None:
            gan.constrain()
        scalars = {"d_loss": loss, **penalty, **gan.scores(real_logits, fake_logits, progress)}
        return {name: value.detach() for name, value in scalars.items()}

    def generator_step(
        self, reals: torch.Tensor, labels: torch.Tensor | None, progress: Progress, penalties: GeneratorPenalties = ()
    ) -> dict[str, torch.Tensor]:
        """Update G on fresh latents, as many as there are reals; only a relativistic loss uses the reals."""
        gan = self.gan
        discriminate = gan.discriminator_fn(progress, labels)
        fake_logits = discriminate(gan.generate_fakes(len(reals), reals, labels))
        real_logits = None
        if gan.loss.needs_reals:
            with torch.no_grad():  # the reals' logits do not depend on G
                real_logits = discriminate(reals)
        loss = gan.loss.generator(fake_logits, real_logits)
        penalty = gan.generator_penalty(reals, progress, penalties)
        gan.g_optimizer.backward(loss + penalty["g_penalty"] if penalty else loss)
        gan.g_optimizer.step()
        return {name: value.detach() for name, value in {"g_loss": loss, **penalty}.items()}


game = Alternating
