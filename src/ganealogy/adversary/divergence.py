"""Trouble is stopped before it reaches the weights, or noted where looking for it would cost more than the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils import get_total_norm


class Diverged(Exception):  # noqa: N818 (a result of a training, not an error of the program)
    """A loss or gradient is NaN or infinite; raised before the optimizer step, so that the weights are still finite."""

    def __init__(self, culprit: str, value: float) -> None:
        super().__init__(f"{culprit} is {value}")
        self.culprit, self.value = culprit, value


class DivergedEarlier(Exception):  # noqa: N818
    """A loss or gradient was not finite in a step since the last look, and the weights are spoilt."""


class DivergenceCheck:
    """Of one player. Working ahead of a GPU, it notes on the card what it would have stopped at: to read a number, the
    host has to wait for all that it has asked of the card so far."""

    def __init__(self, player: str, parameters: Sequence[torch.Tensor]) -> None:
        self.player, self.parameters = player, parameters
        self.fine: torch.Tensor | None = None
        """Where it works ahead: whether all was finite so far."""

    def defer(self) -> None:
        self.fine = torch.ones((), dtype=torch.bool, device=self.parameters[0].device)

    def check(self, loss: torch.Tensor) -> None:
        """After the backward pass and before the step. Raises: Diverged naming the player's loss or its gradient."""
        loss = loss.detach()
        norm = get_total_norm([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        fine = torch.isfinite(loss) & torch.isfinite(norm)
        if self.fine is not None:
            self.fine.logical_and_(fine)
            return
        if fine:  # one number to read
            return
        if not torch.isfinite(loss):
            raise Diverged(f"{self.player} loss", float(loss))
        raise Diverged(f"{self.player} gradient norm", float(norm))

    def look(self) -> None:
        """Raises: DivergedEarlier naming the player."""
        if self.fine is not None and not self.fine:
            raise DivergedEarlier(f"{self.player} loss or gradient not finite")
