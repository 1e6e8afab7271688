"""Hinge loss: D gets no gradient from logits beyond the margin (Lim and Ye, arXiv 1705.02894)."""

from __future__ import annotations

import torch
from torch.nn.functional import relu

from ganealogy.adversary.losses._base import SumOfTerms


class Hinge(SumOfTerms):
    needs_reals = False

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return E[max(0, 1 - D(x))] and E[max(0, 1 + D(G(z)))]."""
        return relu(1 - real).mean(), relu(1 + fake).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """Return -E[D(G(z))]."""
        return -fake.mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean sigmoid, comparable with cross-entropy's curve."""
        return logits.sigmoid().mean()


loss = Hinge
