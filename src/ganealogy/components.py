"""Components by name: `name: hinge` in a YAML file is `adversary/losses/hinge.py`.

This is the only dynamic import of the package, so a recipe determines the code of a training
(`lineage/fingerprint.py`). A component file has one builder, a class or a function under the name of its kind, such as
`loss`. The builder's keyword-only parameters are the keys of a recipe, and their annotations are the legal values.
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
    """Return the sorted names of a kind, such as `adversary.losses`. Files that begin with `_` are not components."""
    folder = Path(__file__).parent.joinpath(*kind.split("."))
    files = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return tuple(sorted(name for name in files if not name.startswith("_")))


def require(kind: str, name: str, where: str = "") -> None:
    """Check that a component exists, without importing it. `where`: file and key, for the message.

    Raises: GanealogyError listing the known names.
    """
    if name not in known(kind):
        raise one_of("name", name, known(kind), where or kind)


def load(kind: str, name: str, where: str = "") -> ModuleType:
    """Return the module of a component. `where`: file and key, for the message.

    Raises: GanealogyError listing the known names.
    """
    require(kind, name, where)
    return importlib.import_module(module_name(kind, name))


def module_constants(kind: str, name: str) -> dict[str, Any]:
    """Parse a component's file without importing it, which can take seconds.

    Returns its literal constants; its functions map to None.
    """
    path = Path(__file__).parent.joinpath(*kind.split("."), f"{name}.py")
    constants: dict[str, object] = {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.FunctionDef):
            constants[node.name] = None
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with suppress(ValueError):
                constants[node.targets[0].id] = ast.literal_eval(node.value)
    return constants


def module_name(kind: str, name: str) -> str:
    """Return the dotted name of a component's module."""
    return f"{PACKAGE}.{kind}.{name}"


def parameters(builder: Any) -> dict[str, tuple[Any, Any]]:
    """Return a builder's keyword-only parameters: name → (annotation, default); the default is `...` if required."""
    function = getattr(builder, "__init__") if inspect.isclass(builder) else builder  # noqa: B009 (for mypy)
    hints = typing.get_type_hints(function, include_extras=True)
    return {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
