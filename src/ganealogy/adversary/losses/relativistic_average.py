"""RaSGAN: compare each logit with the mean logit of the other side (Jolicoeur-Martineau, arXiv 1807.00734)."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


class RelativisticAverage:
    needs_reals = True

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return E[softplus(-(D(x) - E D(G)))] + E[softplus(D(G) - E D(x))]."""
        return softplus(fake.mean(0) - real).mean() + softplus(fake - real.mean(0)).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return D's loss with reals and fakes exchanged."""
        assert real is not None
        return self.discriminator(fake, real)

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean logit; only the difference between reals and fakes has a meaning."""
        return logits.mean()


loss = RelativisticAverage
