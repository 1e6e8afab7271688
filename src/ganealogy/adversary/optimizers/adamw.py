"""Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Gt, Len

from ganealogy.adversary.optimizers._scheduled_adam import ScheduledAdam
from ganealogy.adversary.schedule import Scheduled, ScheduledDecay, moves, scheduled_value


def optimizer(
    parameters: Iterable[torch.nn.Parameter],
    lr: float,
    *,
    betas: Annotated[list[ScheduledDecay], Len(2, 2)] = [0.9, 0.999],  # noqa: B006 (read only; a recipe gives a list)
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Scheduled = 0.01,
) -> torch.optim.Optimizer:
    """Return AdamW, fused unless betas or weight decay are scheduled."""
    begin, decay = (scheduled_value(betas[0], 0.0), scheduled_value(betas[1], 0.0)), scheduled_value(weight_decay, 0.0)
    if moves([betas, weight_decay]):
        return ScheduledAdam(parameters, lr, begin, eps, decay)
    return torch.optim.AdamW(parameters, lr, begin, eps, decay, fused=True)
