"""Trouble is stopped before it reaches the weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn.utils import get_total_norm


class Diverged(Exception):  # noqa: N818 (a result of a training, not an error of the program)
    """A loss or gradient is NaN or infinite; raised before the optimizer step, so that the weights are still finite."""

    def __init__(self, culprit: str, value: float) -> None:
        super().__init__(f"{culprit} is {value}")
        self.culprit, self.value = culprit, value


def check(name: str, loss: torch.Tensor, parameters: Iterable[torch.Tensor]) -> None:
    """After the backward pass and before the step. Raises: Diverged naming the loss or `name`'s gradient."""
    loss = loss.detach()
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if torch.isfinite(loss) & torch.isfinite(norm):  # one number to read: the host waits for a GPU once
        return
    if not torch.isfinite(loss):
        raise Diverged(f"{name} loss", float(loss))
    raise Diverged(f"{name} gradient norm", float(norm))
