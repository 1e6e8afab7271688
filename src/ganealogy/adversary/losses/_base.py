"""The interface of a loss."""

from __future__ import annotations

from typing import Protocol

import torch


class Loss(Protocol):
    """The class `loss` of each file in this folder. Logits are D's, (N,), or (N, K) of K judges; results are scalars.

    Terms are means over images and judges. A mean over images alone, inside a term, is `mean(0)`.
    """

    needs_reals: bool
    """Whether G's loss compares fakes with reals; if not, D sees no reals in G's step."""
    needs_features: bool
    """Optional. If true, D's method `with_features` is called, and (N, 1 + F) take the place of the logits: the logit
    and then D's features. Penalties and scores get the logit alone."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return D's loss from the logits of reals and fakes."""

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
        """Return G's loss from the logits of fakes; `real` is None unless `needs_reals`."""

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean score that the curves show, in [0, 1] where the logits are log-odds."""


class SumOfTerms:
    """A loss of which D's is a term of the reals plus a term of the fakes; the curves show both beside the sum."""

    def discriminator_terms(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the terms of the reals and of the fakes, from logits as in `Loss.discriminator`."""
        raise NotImplementedError

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return the sum of both terms."""
        of_reals, of_fakes = self.discriminator_terms(real, fake)
        return of_reals + of_fakes
