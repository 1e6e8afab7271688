"""Adam (Kingma and Ba, arXiv 1412.6980)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Len, Lt

Beta = Annotated[float, Ge(0), Lt(1)]


def optimizer(
    parameters: Iterable[torch.nn.Parameter],
    lr: float,
    *,
    betas: Annotated[list[Beta], Len(2, 2)] = [0.9, 0.999],  # noqa: B006 (read only; a recipe gives a list)
    eps: Annotated[float, Gt(0)] = 1e-8,
) -> torch.optim.Optimizer:
    """Fused: one pass over the parameters in place of a dozen."""
    # torch refuses an int among the betas, and YAML's `0` is one.
    return torch.optim.Adam(parameters, lr, (float(betas[0]), float(betas[1])), eps, fused=True)
