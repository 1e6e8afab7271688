"""What a version changed in its parent's recipe, in lines that people read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A dotted key with its value in the parent and in the version, written as a version file would have them.

    `before` is None where the parent has no such key, `after` where the version has none.
    """

    key: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.key} {self.values}"

    @property
    def values(self) -> str:
        if self.before is None:
            return f"= {self.after}"
        return f"{self.before} → {'removed' if self.after is None else self.after}"


def changes(block: dict[str, Any] | None, parent: dict[str, Any], own: dict[str, Any]) -> list[Change]:
    """The `changes` block of a version file, leaf by leaf; `parent` and `own` are resolved recipes.

    A component of another name is one line (`adversary.loss bce → hinge`) and one for each of its parameters that the
    block gives. A leaf that says what the parent already had is left out: it changes nothing.
    """
    lines: list[Change] = []

    def walk(key: str, given: Any, old: Any, new: Any) -> None:
        swapped = _component(old) != _component(new)
        if swapped:
            lines.append(Change(key, _component(old) or _written(old), _component(new) or _written(new)))
        if isinstance(given, dict) and isinstance(new, dict) and (swapped or isinstance(old, dict)):
            for name, value in given.items():
                if not (swapped and name == "name"):
                    below = old.get(name, _ABSENT) if isinstance(old, dict) else _ABSENT
                    walk(f"{key}.{name}" if key else name, value, below, new.get(name, _ABSENT))
        elif not swapped and old != new:
            lines.append(Change(key, _written(old), _written(new)))

    walk("", block or {}, parent, own)
    return lines


_ABSENT = object()


def _component(value: Any) -> str | None:
    """The name of a component's block, `{name: hinge, ...}`."""
    return str(value["name"]) if isinstance(value, dict) and "name" in value else None


def _written(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_written(below)}" for key, below in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
