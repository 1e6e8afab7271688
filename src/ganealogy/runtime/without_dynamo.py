"""Optimizers, dispatch modes and meta tensors without the import of torch's compiler, torch._dynamo.

That import takes one second, as long as torch's own, and nothing is compiled here. All results are the same bits. If a
release of torch is built otherwise, the import happens and nothing else changes.

torch wraps functions so that its compiler skips them. The wrapper imports torch._dynamo, unless the function has the
attribute `__dynamo_disable`: https://github.com/pytorch/pytorch/blob/v2.11.0/torch/_compile.py
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

F = TypeVar("F", bound=Callable[..., Any])

OPTIMIZER_METHODS = ("add_param_group", "load_state_dict", "state_dict")
"""Wrapped in https://github.com/pytorch/pytorch/blob/v2.11.0/torch/optim/optimizer.py"""


def mark_disabled(function: F) -> F:
    """Mark a function as skipped by the compiler. Use it as the decorator of a dispatch mode's `__torch_dispatch__`.

    Base class: https://github.com/pytorch/pytorch/blob/v2.11.0/torch/utils/_python_dispatch.py
    """
    marked: Any = function
    if not hasattr(marked, "__dynamo_disable"):
        marked.__dynamo_disable = function
    return function


def prepare() -> None:
    """Mark the methods that an optimizer calls when it is built, saved and restored. Call it before building one."""
    for name in OPTIMIZER_METHODS:
        mark_disabled(inspect.unwrap(getattr(Optimizer, name)))


def step(optimizer: Optimizer) -> None:
    """Run `optimizer.step()` without its hooks (there are none), under no_grad.

    The hooks' wrapper, `_use_grad_for_differentiable` in torch/optim/optimizer.py, imports torch._dynamo.
    """
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


class SkipInitialisation(TorchFunctionMode):
    """Leave out the functions that fill a tensor, on the meta device, whose tensors have no values.

    There they run as Python references, wrapped as above: torch/_refs/__init__.py, torch/_prims_common/wrappers.py.
    """

    SKIPPED = (
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        torch.nn.init.normal_,
        torch.nn.init.uniform_,
        torch.nn.functional.normalize,
    )

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in self.SKIPPED:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
