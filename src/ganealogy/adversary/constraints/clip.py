"""Weight clipping: the Lipschitz constraint of the first Wasserstein GAN (arXiv 1701.07875, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn


def constraint(discriminator: nn.Module, *, limit: Annotated[float, Gt(0)] = 0.01) -> Callable[[], None]:
    """Return a function that clips all parameters of D, BatchNorm's included, to [-limit, limit] after each D step."""
    parameters = [parameter.data for parameter in discriminator.parameters()]

    def clip() -> None:
        torch._foreach_clamp_min_(parameters, -limit)
        torch._foreach_clamp_max_(parameters, limit)

    return clip
