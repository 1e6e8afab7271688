"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Lt


def optimizer(
    parameters: Iterable[torch.nn.Parameter], lr: float, *, momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr, momentum, fused=True)
