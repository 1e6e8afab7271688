"""RMSprop (Hinton's lecture 6e), in torch's form and with torch's defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt


def optimizer(
    parameters: Iterable[torch.nn.Parameter],
    lr: float,
    *,
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.99,
    eps: Annotated[float, Gt(0)] = 1e-8,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr, alpha, eps, momentum=momentum)
