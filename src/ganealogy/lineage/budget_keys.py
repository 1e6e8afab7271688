"""Which keys of a recipe depend on the training's budget, so that a longer training differs from its first step.

Schedules are fractions of the budget (`adversary/schedule.py`). A component may also compute with the progress itself.
That is read from its source, so a new component needs no declaration: the progress may be the argument of
`scheduled_value`, and anything else counts as dependent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.lineage import fingerprint
from ganealogy.record_types import Recipe

WITH_PROGRESS = ("adversary.penalties", "adversary.generator_penalties", "adversary.augment")
"""Kinds of components that receive the progress."""
GAMES = ("alternating", "simultaneous", "flow_matching")
"""Games that only pass the progress on. Another one counts as dependent."""
SCHEDULE = f"{fingerprint.PACKAGE}.adversary.schedule"
ARGUMENT = "progress"
"""What the interfaces call the fraction of the budget that is done."""


def budget_keys(recipe: Recipe) -> list[str]:
    """Return the dotted keys of a complete recipe that depend on the budget; empty if a longer training agrees."""
    found = list(_scheduled("", recipe))
    if recipe["ema"] is not None and recipe["ema"]["half_life_share"] is not None:
        found.append("ema.half_life_share")
    adversary: dict[str, Any] = {**recipe["adversary"]}
    if (game := adversary["game"]["name"]) not in GAMES:
        found.append(f"adversary.game.{game}")
    for kind in WITH_PROGRESS:
        names = [part["name"] for part in adversary[kind.rpartition(".")[2]]]
        found += [f"{kind}.{name}" for name in names if uses_progress(kind, name)]
    return list(dict.fromkeys(found))


def uses_progress(kind: str, name: str) -> bool:
    """Return whether a component does anything with the progress but look up scheduled parameters."""
    paths = map(fingerprint.module_path, fingerprint.closure([components.module_name(kind, name)]).keys() - {SCHEDULE})
    own = fingerprint.module_path(components.module_name(kind, name))
    return any(_reads(path, path.stat().st_mtime_ns, path == own) for path in paths if path is not None)


def _scheduled(key: str, value: Any) -> Iterator[str]:
    """Yield the keys of values such as {from: 0.1, to: 0}."""
    if isinstance(value, dict):
        if {"from", "to"} <= value.keys():
            yield key
        else:
            for name, part in value.items():
                yield from _scheduled(f"{key}.{name}".lstrip("."), part)
    elif isinstance(value, list):
        for part in value:
            named = isinstance(part, dict) and "name" in part
            yield from _scheduled(f"{key}.{part['name']}" if named else key, part)


@cache
def _reads(path: Path, _modified_ns: int, of_component: bool) -> bool:
    """Return whether a module uses the progress otherwise. `of_component`: its classes are those of the recipe."""
    tree, allowed = ast.parse(path.read_bytes()), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > 1 and _name(node.func) == "scheduled_value":
            allowed |= {id(node.args[1])} if _name(node.args[1]) == ARGUMENT else set()
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":  # a default is in the recipe
            allowed |= {id(part) for default in node.args.kw_defaults if default for part in ast.walk(default)}
    found = False
    for node in ast.walk(tree):
        if id(node) in allowed:
            continue
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            found |= _name(node) == ARGUMENT
        elif isinstance(node, ast.Constant):  # getattr, and a schedule in the code
            found |= node.value in (ARGUMENT, "from")
        elif isinstance(node, ast.ClassDef) and (of_component or "Augmentation" in map(_name, node.bases)):
            found |= any(map(_renames, node.body))
    return found


def _renames(method: ast.stmt) -> bool:
    """Return whether a method may receive the progress under another name: it is passed by position."""
    if not isinstance(method, ast.FunctionDef):
        return False
    given = [*method.args.posonlyargs, *method.args.args][2:]  # after self and the images, the logits or the step
    others = [argument.arg for argument in given if argument.arg != ARGUMENT]
    return method.name in ("forward", "observe", "__call__") and bool(others or method.args.vararg)


def _name(node: ast.AST) -> str:
    """Return `c` for `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
