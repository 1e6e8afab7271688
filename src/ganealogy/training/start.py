"""What a training starts from, if not from random weights: the last checkpoint of another one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Start:
    tensors: dict[str, torch.Tensor]
    """Of the checkpoint, by the names of `training/state.py`."""
    kimg: float
    """Length of that training."""
    optimizers: Collection[str]
    """Networks whose optimizer is of the same kind in both recipes: `generator`, `discriminator`."""
