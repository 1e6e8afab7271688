"""The usual game: `d_steps` D steps, each on its own batch and fresh fakes, then `g_steps` G steps on fresh latents.

Where G's loss compares fakes with reals, G's step has a batch of its own, as in R3GAN's code: D has just been updated
on the last one.

Steps return detached scalars; they log nothing and read no files. N images, C channels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le

from ganealogy.adversary.games._base import Batch, Game, Phase
from ganealogy.adversary.gan import GAN, GeneratorPenalties, Penalties
from ganealogy.adversary.penalties._base import DiscriminatorStep
from ganealogy.adversary.schedule import Progress


class Alternating(Game):
    def __init__(
        self,
        gan: GAN,
        *,
        d_steps: Annotated[int, Ge(1), Le(100)] = 1,
        g_steps: Annotated[int, Ge(1), Le(100)] = 1,
        by: Literal["batches", "epochs"] = "batches",
        reuse_fakes: bool = False,
    ) -> None:
        """`d_steps` D updates are followed by `g_steps` G updates, and so on.

        `by`: what both count, batches or epochs of the training pictures. The budget counts G's alone. With epochs, the
        D updates of `d_steps` epochs belong to the G update after them: checkpoints lie before and after it, so a
        training that is killed there repeats at most these.

        `reuse_fakes`: G's step has the fakes, and the reals, of the D step before it: G runs once less. Only with one G
        update at a time.
        """
        self.gan, self.d_steps, self.g_steps, self.reuse_fakes = gan, d_steps, g_steps, reuse_fakes
        self.by_epochs = by == "epochs"
        # A G step that no D step precedes has a batch for its size and classes; then each has, so that D's phases of
        # whole epochs begin with an epoch.
        self.own_batch = (gan.loss.needs_reals and not reuse_fakes) or g_steps > 1 or self.by_epochs

    def d_updates(self, number: int) -> int:
        """Return the D updates that belong to the first G updates: those of a round are at its first one."""
        unit = self.batches_per_epoch if self.by_epochs else 1
        rounds = -(-number // (self.g_steps * unit))
        return rounds * self.d_steps * unit

    def batches(self, number: int) -> int:
        """Return the batches of the first G updates: one per D update, and one per G update that has its own."""
        return self.d_updates(number) + number * self.own_batch

    def phase(self, number: int) -> Phase:
        """Return the penalties of an update: see `Game.phase`."""
        d_steps = range(self.d_updates(number), self.d_updates(number + 1))
        return Phase(tuple(map(self.gan.due_penalties, d_steps)), self.gan.due_generator_penalties(number))

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update D as often as it is due, and G once: see `Game.step`. Without a D update, no scalars are D's."""
        self.gan.set_progress(progress)
        phase, scalars = self.phase(number), dict[str, torch.Tensor]()
        for index, penalties in enumerate(phase.discriminator):
            images, classes = reals(index), None if labels is None else labels(index)
            reused = self.reuse_fakes and index == self.d_steps - 1
            with self.gan.arithmetic(penalties):
                with torch.set_grad_enabled(reused):  # D's loss needs no graph through G
                    fakes = self.gan.generate_fakes(len(images), images, classes)
                scalars = self.discriminator_step(images, fakes.detach(), classes, progress, penalties)
        if self.own_batch:
            index = len(phase.discriminator)
            images, classes = reals(index), None if labels is None else labels(index)
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
