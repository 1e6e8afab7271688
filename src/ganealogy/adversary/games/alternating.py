"""The usual game: `d_steps` D steps, each on its own batch and on fresh fakes, then one G step on fresh latents.

Nothing here logs, reads files or knows of time; a step returns detached statistics. N images, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le

from ganealogy.adversary import guard
from ganealogy.adversary.players import Players
from ganealogy.networks.latents import draw_global


class Alternating:
    def __init__(self, players: Players, d_steps: int) -> None:
        self.players, self.d_steps = players, d_steps

    def step(self, reals: Callable[[int], torch.Tensor]) -> dict[str, torch.Tensor]:
        """One G update. `reals(i)`: the batch (N, C, H, W) of this step's i-th D step.

        Returns d_loss, g_loss, real_score, fake_score: detached scalars, D's from its last step.
        Raises: Diverged before the optimizer step that would have spoilt the weights.
        """
        for index in range(self.d_steps):
            real_images = reals(index)
            statistics = self.discriminator_step(real_images)
        return statistics | self.generator_step(len(real_images), like=real_images)

    def discriminator_step(self, real_images: torch.Tensor) -> dict[str, torch.Tensor]:
        """One D update on (N, C, H, W) reals and as many fresh fakes."""
        play = self.players
        with torch.no_grad(), play.precision():  # G learns nothing here: its graph would be built and thrown away
            fake_images = play.generator(draw_global(play.latent, len(real_images), like=real_images))
        with play.precision():
            real, fake = play.discriminator(real_images), play.discriminator(fake_images)
        real, fake = at_least_float32(real), at_least_float32(fake)
        loss = play.loss.discriminator(real, fake)
        play.d_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        guard.check("discriminator", loss, play.discriminator.parameters())
        play.d_optimizer.step()
        if play.constrain is not None:
            play.constrain()
        with torch.no_grad():
            scores = {"real_score": play.loss.score(real), "fake_score": play.loss.score(fake)}
        return {"d_loss": loss.detach(), **scores}

    def generator_step(self, count: int, like: torch.Tensor) -> dict[str, torch.Tensor]:
        """One G update on `count` fresh latents."""
        play = self.players
        play.discriminator.requires_grad_(False)  # its weights' gradients would be computed and thrown away
        try:
            with play.precision():
                fake = play.discriminator(play.generator(draw_global(play.latent, count, like=like)))
            loss = play.loss.generator(at_least_float32(fake))
            play.g_optimizer.zero_grad(set_to_none=True)
            loss.backward()
        finally:
            play.discriminator.requires_grad_(True)
        guard.check("generator", loss, play.generator.parameters())
        play.g_optimizer.step()
        return {"g_loss": loss.detach()}


def at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    """Losses are computed in float32 even where the networks ran in bfloat16."""
    return logits if logits.dtype is torch.float64 else logits.float()


def game(players: Players, *, d_steps: Annotated[int, Ge(1), Le(100)] = 1) -> Alternating:
    """`d_steps`: D updates a G update."""
    return Alternating(players, d_steps)
