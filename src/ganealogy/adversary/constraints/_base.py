"""The interface of a constraint on D's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn


class ConstraintBuilder(Protocol):
    """The function `constraint(discriminator, *, …)` of each file in this folder."""

    def __call__(self, discriminator: nn.Module, **options: Any) -> Callable[[], None]:
        """Return the function that is called after each D step."""
