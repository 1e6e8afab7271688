"""RpGAN: compare each fake with one real (arXiv 1807.00734, §4.2; R3GAN, arXiv 2501.05441, eq. 2)."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


class RelativisticPairing:
    needs_reals = True

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return E[softplus(-(D(x) - D(G(z))))]."""
        return softplus(fake - real).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return E[softplus(-(D(G(z)) - D(x)))]."""
        assert real is not None
        return softplus(real - fake).mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean logit; only the difference between reals and fakes has a meaning."""
        return logits.mean()


loss = RelativisticPairing
