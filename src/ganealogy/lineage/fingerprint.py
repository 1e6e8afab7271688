"""Hash the code of a stage; comments, docstrings and line breaks do not count.

The hash covers the import closure of the stage's entry module and of the recipe's component files, each module over its
syntax tree. This is complete because the package has one dynamic import (`components.load`) and empty `__init__.py`s.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from ganealogy.errors import GanealogyError
from ganealogy.workspace import COMPONENTS

PACKAGE = "ganealogy"
SOURCE = Path(__file__).parent.parent

UNCOUNTED = (f"{PACKAGE}.record_types", f"{PACKAGE}.tree_types", f"{PACKAGE}.workspace")
"""Types and paths cannot change results: any module may import these, and their edits run nothing again."""

# Modules that cannot change results, so they may be loaded without being in a fingerprint.
ORCHESTRATION = (
    "__main__",
    "budget",
    "cli",
    "components",
    "files",
    "lineage",
    "params",
    "runs",
    "runtime",
    "stages",
    "tracking",
    "record_types",
    "tree_types",
    "workspace",
    "",
)


_VERIFIED: set[str] = set()
"""Modules of stages that were verified in this process: a worker trains, samples and evaluates a run."""


def closure(entries: list[str]) -> dict[str, str]:
    """Return module → sha256 of its syntax tree, for the entries and all that they import of this package, sorted.

    Modules of `UNCOUNTED` are left out.
    """
    found: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module not in found:
            path = module_path(module)
            if path is None:
                raise GanealogyError(f"{module}: no such module under {SOURCE}")
            found[module], imports = _read(path, path.stat().st_mtime_ns)
            waiting.extend(name for name in imports if name not in UNCOUNTED)
    return dict(sorted(found.items()))


def resources(folder: str) -> dict[str, str]:
    """Return path → sha256 of the files in a folder that are not code, such as templates and styles."""
    files = (path for path in (SOURCE / folder).rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"})
    return {str(path.relative_to(SOURCE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def verify(code: dict[str, str], when: str) -> None:
    """Raises: GanealogyError when the sources differ from those of the plan."""
    modules = {name: module_path(name) for name in code if name.startswith(f"{PACKAGE}.")}
    changed = sorted(
        name for name, path in modules.items() if path is None or _read(path, path.stat().st_mtime_ns)[0] != code[name]
    )
    if changed:
        raise GanealogyError(
            f"{', '.join(changed)}: edited {when}, so the results do not belong to the plan's code. "
            "Run `dvc repro` again"
        )


def verify_loaded(code: dict[str, str]) -> None:
    """Raises: GanealogyError when a loaded module of this package is not in the plan's fingerprint.

    Modules of stages that this process has verified before are loaded, too, and do not count.
    """
    for name, module in list(sys.modules.items()):
        inner = name.removeprefix(PACKAGE).removeprefix(".")
        ours = name == PACKAGE or name.startswith(f"{PACKAGE}.")
        is_package = getattr(module, "__path__", None) is not None
        known = name in code or name in _VERIFIED or inner.split(".")[0] in ORCHESTRATION
        if ours and not is_package and not known:
            raise GanealogyError(f"{name}: used by this stage but not in its fingerprint; this is a bug in Ganealogy")
    _VERIFIED.update(code)


def module_path(module: str) -> Path | None:
    """Return the file of a module of this package; None for other packages and for names that are not modules."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return None
    path = SOURCE.joinpath(*parts[1:])
    own = COMPONENTS.joinpath(*parts[1:])
    candidates = [path.with_suffix(".py"), own.with_suffix(".py")] if len(parts) > 1 else []
    return next((file for file in (*candidates, path / "__init__.py") if file.is_file()), None)


@cache
def _read(path: Path, _modified_ns: int) -> tuple[str, tuple[str, ...]]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise GanealogyError(f"{path}: line {error.lineno}: not Python: {error.msg}") from None
    return hashlib.sha256("\0".join(_tokens(tree)).encode()).hexdigest(), tuple(sorted(set(_imports(tree, path))))


def _tokens(node: object) -> list[str]:
    """Return the tree in prefix order without positions, docstrings and empty fields.

    `ast.dump` prints empty fields, which differ between Python versions.
    """
    found: list[str] = []
    _append_tokens(node, found.append)
    return found


def _append_tokens(node: object, append: Callable[[str], None]) -> None:
    if isinstance(node, ast.AST):
        append(f"({type(node).__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None and isinstance(node, ast.Constant):
                append("None")
            elif value is not None and value != [] and field not in {"kind", "type_comment"}:
                append(field)
                _append_tokens(value, append)
        append(")")
    elif isinstance(node, list):
        append("[")
        for item in node:
            # A string expression does nothing: a docstring, or documentation under a field.
            is_text = (
                isinstance(item, ast.Expr)
                and isinstance(item.value, ast.Constant)
                and isinstance(item.value.value, str)
            )
            if not is_text:
                _append_tokens(item, append)
        append("]")
    else:
        append(f"{type(node).__name__}:{node!r}")


def _imports(tree: ast.AST, path: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise GanealogyError(
                f"{path}:{node.lineno}: relative imports are not followed by the fingerprint; write them out"
            )
        else:
            continue
        yield from (name for name in names if module_path(name) is not None and name != PACKAGE)
