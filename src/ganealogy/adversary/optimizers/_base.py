"""The interface of an optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch


class OptimizerBuilder(Protocol):
    """The function `optimizer(parameters, lr, *, …)` of each file in this folder."""

    def __call__(self, parameters: Iterable[torch.nn.Parameter], lr: float, **options: Any) -> torch.optim.Optimizer:
        """Return the optimizer. Options that a recipe schedules are set before each step, see `OptimizerStep`."""
