"""Bytes that a step moves between a processor's memory and its cores, and the most that it can move per second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from ganealogy.lineage.flops import OperationCounter
from measuring.device import block

UNTOUCHED = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided")
"""Operations that write nothing."""


class Traffic(OperationCounter):
    """Add up the bytes of all tensors that operations read and write, each once per operation.

    As if no cache kept a tensor between two operations, and no operation read one twice: a lower bound of what a
    library moves within one, an upper bound between two.
    """

    def cost(self, function: Any, args: Any, kwargs: Any, result: Any) -> int:
        if function.is_view or function.overloadpacket.__name__ in UNTOUCHED:
            return 0
        written = tree_leaves(_written(function, args) if result is None else result)
        return _bytes(tree_leaves((args, kwargs))) + _bytes(written)


def _bytes(values: Iterable[Any]) -> int:
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return sum(min(each.numel() * each.element_size(), each.untyped_storage().nbytes()) for each in tensors)


def _written(function: Any, args: Any) -> list[Any]:
    """Return the arguments that an operation without a result may write, such as a fused optimizer's."""
    return [value for argument, value in zip(function._schema.arguments, args, strict=False) if argument.is_write]


def memory_peak(size: int, device: str = "cpu") -> float:
    """Return the bytes per second, read and written, of copies of a tensor of `size` bytes."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timed = block(lambda: target.copy_(source), 1 if device == "cpu" else 10, device)
    return 2 * size / min(timed() for _ in range(8))
