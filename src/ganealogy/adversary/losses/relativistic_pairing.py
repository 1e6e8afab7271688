"""RpGAN: every fake against one real (arXiv 1807.00734, §4.2; as R3GAN has it, arXiv 2501.05441, eq. 2)."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


class RelativisticPairing:
    needs_reals = True

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """D's outputs on reals (N,) and on fakes (N,) → E[softplus(-(D(x) - D(G(z))))]."""
        return softplus(fake - real).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """D's outputs on fakes (N,) and on reals (N,) → E[softplus(-(D(G(z)) - D(x)))]."""
        assert real is not None
        return softplus(real - fake).mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """The plain mean: only the difference between reals' and fakes' means anything."""
        return logits.mean()


def loss() -> RelativisticPairing:
    return RelativisticPairing()
