"""RaSGAN: is this image more real than the average one of the other kind? (Jolicoeur-Martineau, arXiv 1807.00734)."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


class RelativisticAverage:
    needs_reals = True

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """D's outputs on reals (N,) and fakes (N,) → E[softplus(-(D(x) - E D(G)))] + E[softplus(D(G) - E D(x))]."""
        return softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """The same with the roles exchanged: G makes fakes more real than reals, and reals less so."""
        assert real is not None
        return self.discriminator(fake, real)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """The plain mean: only the difference between reals' and fakes' means anything."""
        return logits.mean()


def loss() -> RelativisticAverage:
    return RelativisticAverage()
