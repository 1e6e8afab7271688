"""Adam (Kingma and Ba, arXiv 1412.6980)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Gt, Len

from ganealogy.adversary.schedule import ScheduledDecay, at


def optimizer(
    parameters: Iterable[torch.nn.Parameter],
    lr: float,
    *,
    betas: Annotated[list[ScheduledDecay], Len(2, 2)] = [0.9, 0.999],  # noqa: B006 (read only; a recipe gives a list)
    eps: Annotated[float, Gt(0)] = 1e-8,
) -> torch.optim.Optimizer:
    """Fused: one pass over the parameters in place of a dozen."""
    return torch.optim.Adam(parameters, lr, (at(betas[0], 0.0), at(betas[1], 0.0)), eps, fused=True)
