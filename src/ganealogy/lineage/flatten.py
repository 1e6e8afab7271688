"""Nested mappings as dotted keys, and values as a version file writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def flatten(
    content: Mapping[str, Any],
    prefix: str = "",
    is_leaf: Callable[[dict[str, Any]], bool] = lambda value: False,
    unfold: Callable[[str, Any], Any] = lambda key, value: value,
) -> dict[str, Any]:
    """Return {"loss": {"name": "hinge"}} as {"loss.name": "hinge"}.

    `is_leaf(value)`: whether a mapping stays whole; empty mappings always do. `unfold(key, value)`: returns the value,
    or a mapping to descend into instead.
    """
    flat: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{prefix}.{name}" if prefix else name
        value = unfold(key, value)
        if isinstance(value, dict) and value and not is_leaf(value):
            flat |= flatten(value, key, is_leaf, unfold)
        else:
            flat[key] = value
    return flat


def as_text(value: Any) -> str:
    """Return a value as JSON, and a string without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
