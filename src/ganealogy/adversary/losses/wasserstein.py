"""Wasserstein critic loss (Arjovsky et al., arXiv 1701.07875); it needs a constraint or a penalty."""

from __future__ import annotations

import torch

from ganealogy.adversary.losses._base import SumOfTerms


class Wasserstein(SumOfTerms):
    needs_reals = False

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return -E[D(x)] and E[D(G(z))]."""
        return -real.mean(), fake.mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """Return -E[D(G(z))]."""
        return -fake.mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean output; it is not a probability."""
        return logits.mean()


loss = Wasserstein
