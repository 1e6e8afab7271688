"""Stop training before a NaN or infinite loss reaches the weights.

On a GPU, record it on the device instead, because reading it would force a sync.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils import get_total_norm


class Diverged(Exception):  # noqa: N818 (a result of a training, not an error of the program)
    """A loss or gradient is NaN or infinite. Raised before the optimizer step: the weights are still finite."""

    def __init__(self, quantity: str, value: float) -> None:
        super().__init__(f"{quantity} is {value}")


class DivergedEarlier(Exception):  # noqa: N818
    """A non-finite loss or gradient occurred since the last check; the weights are invalid."""


class DivergenceCheck:
    """Check the loss and gradient of one network for finite values."""

    def __init__(self, network: str, parameters: Sequence[torch.Tensor]) -> None:
        """`network`: "generator" or "discriminator", for messages."""
        self.network, self.parameters = network, parameters
        self.all_finite: torch.Tensor | None = None
        """Where checks are deferred: a bool on the device."""

    def defer(self) -> None:
        """Record failures on the device from now on; call `raise_if_diverged` to read them."""
        if self.parameters:  # flow matching has a D without parameters
            self.all_finite = torch.ones((), dtype=torch.bool, device=self.parameters[0].device)

    def check(self, loss: torch.Tensor) -> None:
        """Check the loss and the parameters' gradients; call it between the backward pass and the optimizer step.

        Raises: Diverged, unless checks are deferred.
        """
        loss = loss.detach()
        norm = get_total_norm([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        if self.all_finite is not None:
            self.all_finite.logical_and_(finite)
            return
        if finite:  # the only value that is read
            return
        if not torch.isfinite(loss):
            raise Diverged(f"{self.network} loss", float(loss))
        raise Diverged(f"{self.network} gradient norm", float(norm))

    def raise_if_diverged(self) -> None:
        """Raises: DivergedEarlier if a deferred check has failed."""
        if self.all_finite is not None and not self.all_finite:
            raise DivergedEarlier(f"{self.network} loss or gradient not finite")
