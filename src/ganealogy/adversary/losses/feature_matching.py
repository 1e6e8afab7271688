"""Feature matching: G's features have the mean of the reals' (Salimans et al., arXiv 1606.03498, section 3.1).

D learns by cross-entropy on its logits, and G from D's features alone.
"""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from ganealogy.adversary.losses._base import SumOfTerms


class FeatureMatching(SumOfTerms):
    needs_reals = True
    needs_features = True

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return E[softplus(-D(x))] and E[softplus(D(G(z)))]; the logit is the first column of (N, 1 + F)."""
        return softplus(-real[:, 0]).mean(), softplus(fake[:, 0]).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return ‖E f(x) - E f(G(z))‖², f the columns behind the logit."""
        assert real is not None
        return (real[:, 1:].mean(0) - fake[:, 1:].mean(0)).square().sum()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return D's mean probability of "real"."""
        return logits.sigmoid().mean()


loss = FeatureMatching
