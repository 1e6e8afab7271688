"""Least squares: D regresses to 1 on reals and 0 on fakes; G's target is 1 (Mao et al., arXiv 1611.04076, eq. 9)."""

from __future__ import annotations

import torch

from ganealogy.adversary.losses._base import SumOfTerms


class LSGAN(SumOfTerms):
    needs_reals = False

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return E[(D(x) - 1)²] / 2 and E[D(G(z))²] / 2."""
        return (real - 1).square().mean() / 2, fake.square().mean() / 2

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """Return E[(D(G(z)) - 1)²] / 2."""
        return (fake - 1).square().mean() / 2

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean logit, whose targets are 1 and 0."""
        return logits.mean()


loss = LSGAN
