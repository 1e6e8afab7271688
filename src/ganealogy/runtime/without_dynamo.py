"""torch's optimizers without torch's compiler, which they import when they are made and at every step.

That import takes as long as torch's own, and a training that compiles nothing has no use for it. The steps are torch's,
bit for bit. Where a release of torch is built otherwise, the optimizers are used as they come.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

METHODS = ("add_param_group", "load_state_dict", "state_dict")
"""Those that torch wraps to keep its compiler out of them, which imports it."""


def prepare() -> None:
    """Before an optimizer is made: tell torch's wrappers that these functions are out of the compiler's reach already.

    What they look for is the attribute `__dynamo_disable`, and they call what it holds.
    """
    for name in METHODS:
        function: Any = inspect.unwrap(getattr(Optimizer, name))
        if not hasattr(function, "__dynamo_disable"):
            function.__dynamo_disable = function


def step(optimizer: Optimizer) -> None:
    """`optimizer.step()` without its hooks, of which we have none: the innermost function, under no_grad as they do."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)
