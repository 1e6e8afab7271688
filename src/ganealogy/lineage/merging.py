"""Merge two branches of a family: recipes that grew from a common one, value by value. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganealogy.lineage.flatten import as_text

ABSENT: Any = object()
"""Value of a key that a recipe does not have."""


@dataclass(frozen=True)
class Conflict:
    """A dotted key that two branches change to different values."""

    key: str
    first: Any
    second: Any
    """ABSENT where a branch removes the key."""


def merge(base: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Any, list[Conflict]]:
    """Return both branches' changes of `base` in one recipe, and where they contradict each other.

    There the value is that of `second`. A component of another name is one value with its parameters, and so is a list.
    """
    conflicts: list[Conflict] = []
    return _merge("", base, first, second, conflicts), conflicts


def _merge(key: str, base: Any, first: Any, second: Any, conflicts: list[Conflict]) -> Any:
    if first == second or second == base:
        return first
    if first == base:
        return second
    both = isinstance(first, dict) and isinstance(second, dict)
    started = isinstance(base, dict) or (both and "name" in first)  # else each branch has added the whole
    if not both or not started or first.get("name") != second.get("name"):
        conflicts.append(Conflict(key, first, second))
        return second
    if not isinstance(base, dict) or base.get("name") != first.get("name"):
        base = {}
    merged = {}
    for name in dict.fromkeys([*first, *second]):
        old, one, other = (value.get(name, ABSENT) for value in (base, first, second))
        value = _merge(f"{key}.{name}" if key else name, old, one, other, conflicts)
        if value is not ABSENT:
            merged[name] = value
    return merged


def shown(value: Any) -> str:
    """Return a value as a version file writes it, a component without parameters as its name."""
    if value is ABSENT:
        return "nothing"
    if isinstance(value, dict) and "name" in value:
        parameters = {key: below for key, below in value.items() if key != "name"}
        return f"{value['name']} {as_text(parameters)}" if parameters else str(value["name"])
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return f"[{', '.join(map(shown, value))}]"
    return as_text(value)
