"""The non-saturating logistic loss as StyleGAN writes it: cross-entropy with targets 1 and 0, on logits."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


class Softplus:
    needs_reals = False

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """D's logits on reals (N,) and on fakes (N,) → E[softplus(-D(x))] + E[softplus(D(G(z)))]."""
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        """D's logits on fakes (N,) → E[softplus(-D(G(z)))]."""
        return softplus(-fake).mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """D's mean belief that the images are real, in [0, 1]."""
        return logits.sigmoid().mean()


def loss() -> Softplus:
    return Softplus()
