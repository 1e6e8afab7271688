"""Random draws of the global batch on each rank, so that several ranks can be compared with one process exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ganealogy.runtime.distributed import shard, world_size


class GlobalDraws(TorchFunctionMode):
    """Draw for the whole batch whatever is drawn per image of a rank's shard, and return the rank's rows.

    All ranks must have the same seed.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.rand, torch.randn):
            size = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            if self._is_shard(size):
                return shard(function(self.batch_size, *size[1:], **kwargs))
        elif function is torch.randint and self._is_shard(args[-1]):
            return shard(function(*args[:-1], (self.batch_size, *args[-1][1:]), **kwargs))
        elif function in (torch.rand_like, torch.randn_like) and self._is_shard(args[0].shape):
            return shard(function(self._whole(args[0]), **kwargs))
        elif function is nn.functional.dropout and self._is_shard(args[0].shape):
            return self._dropout(*args, **kwargs)
        return function(*args, **kwargs)

    def _is_shard(self, size: Sequence[int]) -> bool:
        return len(size) > 0 and size[0] * world_size() == self.batch_size

    def _whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Return room for the global batch in the rows' memory layout: draws fill memory in its order."""
        flat = rows.ndim == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if flat else torch.contiguous_format
        size = (self.batch_size, *rows.shape[1:])
        return torch.empty(size, dtype=rows.dtype, device=rows.device, memory_format=layout)

    def _dropout(self, rows: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training:
            return rows
        mask = shard(nn.functional.dropout(self._whole(rows.detach()).fill_(1), p))
        return rows.mul_(mask) if inplace else rows * mask
