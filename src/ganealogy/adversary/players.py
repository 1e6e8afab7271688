"""What every game is played with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Players:
    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    loss: Any
    """`discriminator(real, fake)`, `generator(fake)`, `score(logits)`: see `adversary/losses/`."""
    latent: dict[str, Any]
    """{"size", "distribution"}: see `networks/latents.py`."""
    constrain: Callable[[], None] | None
    """Called after each D step."""
    precision: Callable[[], AbstractContextManager[Any]]
    """The context that networks run in: nothing, or autocast."""
