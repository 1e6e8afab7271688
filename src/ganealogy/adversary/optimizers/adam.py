"""Adam (Kingma and Ba, arXiv 1412.6980)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Gt, Len

from ganealogy.adversary.optimizers._scheduled_adam import ScheduledAdam
from ganealogy.adversary.schedule import ScheduledDecay, moves, scheduled_value


def optimizer(
    parameters: Iterable[torch.nn.Parameter],
    lr: float,
    *,
    betas: Annotated[list[ScheduledDecay], Len(2, 2)] = [0.9, 0.999],  # noqa: B006 (read only; a recipe gives a list)
    eps: Annotated[float, Gt(0)] = 1e-8,
) -> torch.optim.Optimizer:
    """Return Adam, fused unless the betas are scheduled: one pass over the parameters instead of a dozen."""
    begin = scheduled_value(betas[0], 0.0), scheduled_value(betas[1], 0.0)
    if moves(betas):
        return ScheduledAdam(parameters, lr, begin, eps)
    return torch.optim.Adam(parameters, lr, begin, eps, fused=True)
