"""The changes of a version to its parent's recipe, as lines of text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganealogy.lineage.flatten import as_text


@dataclass(frozen=True)
class Change:
    """A dotted key with its value in the parent and in the version, as a version file writes them.

    `before` is None if the parent has no such key, `after` if the version has none.
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


def changes(block: Mapping[str, Any] | None, parent: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[Change]:
    """Return one line per value of a version's `changes` block; `parent` and `recipe` are the complete recipes.

    A component of another name has one line (`adversary.loss bce → hinge`) and one per parameter in the block. A value
    that the parent has too is left out.
    """
    lines: list[Change] = []

    def walk(key: str, given: Any, old: Any, new: Any) -> None:
        swapped = _component(old) != _component(new)
        if swapped:
            lines.append(Change(key, _component(old) or _as_text(old), _component(new) or _as_text(new)))
        if isinstance(given, dict) and isinstance(new, dict) and (swapped or isinstance(old, dict)):
            for name, value in given.items():
                if not (swapped and name == "name"):
                    below = old.get(name, _ABSENT) if isinstance(old, dict) else _ABSENT
                    walk(f"{key}.{name}" if key else name, value, below, new.get(name, _ABSENT))
        elif not swapped and old != new:
            lines.append(Change(key, _as_text(old), _as_text(new)))

    walk("", block or {}, parent, recipe)
    return lines


def count_changes(lines: Sequence[Change]) -> int:
    """Return how many changes a person would count: see `groups`."""
    return len(groups(lines))


def groups(lines: Sequence[Change]) -> dict[str, list[str]]:
    """Return subject → dotted keys of what a person would count as one change.

    One each: a swapped component with its parameters; the same parameter of G and D, or for reals and fakes; the parts
    of one schedule; an EMA.
    """
    keys = list(dict.fromkeys(line.key for line in lines))
    found: dict[str, list[str]] = {}
    for key in keys:
        if not any(key.startswith(f"{other}.") for other in keys):
            found.setdefault(_subject(key), []).append(key)
    return found


def _subject(key: str) -> str:
    """Return the key without what does not make it another change."""
    if key.startswith("ema."):
        return "ema"
    key = re.sub(r"\.(from|to|shape|until)$", "", key)
    # Penalties of G are other ideas than penalties of D.
    return re.sub(r"\b(generator|discriminator|real|fake)(_(?!penalties)|\b)", "", key)


_ABSENT = object()


def _component(value: Any) -> str | None:
    """Return the name in a component's block, `{name: hinge, ...}`."""
    return str(value["name"]) if isinstance(value, dict) and "name" in value else None


def _as_text(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_as_text(below)}" for key, below in value.items())
    return as_text(value)
