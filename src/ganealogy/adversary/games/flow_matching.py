"""No game: G's velocity is regressed on straight paths from noise to data (Lipman et al., arXiv 2210.02747).

The path is x_t = (1 - t) x_0 + t x_1 with noise x_0 and a picture x_1, its velocity x_1 - x_0: equations 22 and 23 with
σ_min = 0, as in rectified flow (Liu et al., arXiv 2209.03003). There is no discriminator. N images, C channels.
"""

from __future__ import annotations

from typing import Any

import torch

from ganealogy.adversary.games._base import Batch, Game, Phase
from ganealogy.adversary.gan import GAN
from ganealogy.adversary.schedule import Progress
from ganealogy.runtime import distributed, precision


class FlowMatching(Game):
    def __init__(self, gan: GAN) -> None:
        self.gan = gan

    def d_updates(self, number: int) -> int:
        """Return 0: there is no D."""
        return 0

    def batches(self, number: int) -> int:
        """Return the batches of the first G updates: as many."""
        return number

    def phase(self, number: int) -> Phase:
        """Return no penalties: there is no D step."""
        return Phase((), ())

    def step(
        self, reals: Batch, labels: Batch | None = None, progress: Progress = 0.0, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Update G once: see `Game.step`. `g_loss` is E[(v(x_t, t) - (x_1 - x_0))²], t ~ U(0, 1) per image."""
        gan = self.gan
        gan.set_progress(progress)
        data = reals(0)
        noise, time = torch.randn_like(data), torch.rand(len(data), device=data.device, dtype=data.dtype)
        share = time[:, None, None, None]
        generator: Any = gan.generator
        with gan.arithmetic():
            with precision.autocast(gan.precision, gan.device.type):
                velocity = generator.velocity((1 - share) * noise + share * data, time)
            errors = (velocity.to(data.dtype) - (data - noise)).square().mean((1, 2, 3))
            loss = distributed.all_gather(errors).mean()
            gan.g_optimizer.backward(loss)
            gan.g_optimizer.step()
        return {"g_loss": loss.detach()}


game = FlowMatching
