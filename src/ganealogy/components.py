"""Components by name: `name: hinge` in a YAML file is `adversary/losses/hinge.py`.

A project's own components are files in the same folders below its `components/`: `components/adversary/losses/mine.py`.
They are imported as modules of this package, such as `ganealogy.adversary.losses.mine`.

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

from ganealogy.errors import GanealogyError, one_of
from ganealogy.workspace import COMPONENTS

PACKAGE = "ganealogy"
SOURCE = Path(__file__).parent

KINDS = (
    "adversary.augment",
    "adversary.constraints",
    "adversary.games",
    "adversary.generator_penalties",
    "adversary.losses",
    "adversary.optimizers",
    "adversary.penalties",
    "data.sources",
    "evaluation.extractors",
    "networks",
)


def known(kind: str) -> tuple[str, ...]:
    """Return the sorted names of a kind, such as `adversary.losses`. Files that begin with `_` are not components."""
    return tuple(sorted({*_names(SOURCE, kind), *_names(COMPONENTS.resolve(), kind)}))


@cache
def _names(root: Path, kind: str) -> list[str]:
    folder = root.joinpath(*kind.split("."))
    names = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return [name for name in names if not name.startswith("_")]


def own() -> dict[tuple[str, str], Path]:
    """Return (kind, name) → file of the project's own components.

    Raises: GanealogyError for a file in a folder that is no kind's, and for a name that the package has, too.
    """
    found = {}
    for path in own_files():
        if path.name == "__init__.py":
            raise GanealogyError(f"{path}: delete it: the folders of {COMPONENTS}/ are no packages")
        kind = ".".join(path.parent.relative_to(COMPONENTS).parts)
        if not SOURCE.joinpath(*kind.split(".")).is_dir() or kind not in (*KINDS, "networks.layers"):
            folders = ", ".join(kind.replace(".", "/") for kind in KINDS)
            raise GanealogyError(f"{path}: move it to the folder of its kind in {COMPONENTS}/, one of: {folders}")
        if (SOURCE.joinpath(*kind.split(".")) / path.name).exists():
            raise GanealogyError(f"{path}: a component {path.stem} comes with Ganealogy: rename the file")
        if not path.stem.startswith("_") and kind in KINDS:
            found[kind, path.stem] = path
    return found


def own_files() -> list[Path]:
    """Return the Python files below `COMPONENTS`, sorted, without those of hidden folders, which editors keep."""
    files = ((path, path.relative_to(COMPONENTS).parts) for path in COMPONENTS.rglob("*.py"))
    return sorted(path for path, parts in files if not any(part.startswith(".") for part in parts))


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
    find_own()
    return importlib.import_module(module_name(kind, name))


def find_own() -> None:
    """Let `import` find the modules of the project's own components, below the packages of their folders.

    Raises: GanealogyError as `own`.
    """
    own()
    for folder in {path.parent for path in own_files()}:
        package = importlib.import_module(".".join([PACKAGE, *folder.relative_to(COMPONENTS).parts]))
        if (place := str(folder.resolve())) not in package.__path__:
            package.__path__.append(place)


def module_constants(kind: str, name: str) -> dict[str, Any]:
    """Parse a component's file without importing it, which can take seconds.

    Returns its literal constants; its functions map to None.
    """
    path = next(
        root.joinpath(*kind.split("."), f"{name}.py")
        for root in (SOURCE, COMPONENTS.resolve())
        if name in _names(root, kind)
    )
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
