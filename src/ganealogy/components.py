"""Components by name: a YAML file's `name: hinge` is the file `adversary/losses/hinge.py`.

This is the package's only dynamic import, so that the code a version trains with can be told from its recipe
(`lineage/fingerprint.py`). A component file has one public builder, named after its kind; its keyword-only
parameters are the keys that a recipe may give, and their annotations say what is legal.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import typing
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ganealogy.errors import one_of

PACKAGE = "ganealogy"


@cache
def known(kind: str) -> tuple[str, ...]:
    """Return the names of a kind, such as `adversary.losses`, sorted. Files that begin with `_` are no components."""
    folder = Path(__file__).parent.joinpath(*kind.split("."))
    files = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return tuple(sorted(name for name in files if not name.startswith("_")))


def load(kind: str, name: str, where: str = "") -> ModuleType:
    """The module of component `name`.

    Raises: GanealogyError listing the known names; `where` says which file and key asked.
    """
    if name not in known(kind):
        raise one_of("name", name, known(kind), where or kind)
    return importlib.import_module(module_name(kind, name))


def module_constants(kind: str, name: str) -> dict[str, Any]:
    """What a component's file states of itself, without importing it, which can take seconds: its constants by name,
    where they are literals, and for each of its functions the name alone (None)."""
    path = Path(__file__).parent.joinpath(*kind.split("."), f"{name}.py")
    facts: dict[str, Any] = {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.FunctionDef):
            facts[node.name] = None
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with suppress(ValueError):
                facts[node.targets[0].id] = ast.literal_eval(node.value)
    return facts


def module_name(kind: str, name: str) -> str:
    return f"{PACKAGE}.{kind}.{name}"


def parameters(builder: Any) -> dict[str, tuple[Any, Any]]:
    """What a recipe may give a builder: keyword-only name → (annotated type, default; `...` when it must be given)."""
    hints = typing.get_type_hints(builder, include_extras=True)
    return {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
