"""Non-saturating logistic loss as in StyleGAN: cross-entropy on logits with targets 1 and 0."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from ganealogy.adversary.losses._base import SumOfTerms


class Softplus(SumOfTerms):
    needs_reals = False

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return E[softplus(-D(x))] and E[softplus(D(G(z)))]."""
        return softplus(-real).mean(), softplus(fake).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """Return E[softplus(-D(G(z)))]."""
        return softplus(-fake).mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return D's mean probability of "real"."""
        return logits.sigmoid().mean()


loss = Softplus
