"""Check a component's file: its imports, its builder and its place in the fingerprint."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ganealogy import components
from ganealogy.lineage import fingerprint
from ganealogy.lineage import recipe as recipes
from ganealogy.params.schema import Settings
from ganealogy.project.faults import explained
from ganealogy.workspace import COMPONENTS

OF_A_RECIPE: dict[str, tuple[str, ...]] = {
    "networks": ("generator", "discriminator"),
    **{kind: (builder,) for kind, builder in [*recipes.SLOTS.values(), *recipes.LISTS.values()] if kind != "networks"},
}
"""Kind → its builders, of which a file has one at least."""
FUNCTIONS = {"data.sources": ("credit", "fetch", "pictures"), "evaluation.extractors": ("load",)}
"""Kind → the functions that a file must have."""
DYNAMIC = {"import_module", "__import__", "exec", "eval", "run_path", "run_module"}
"""Functions that can run code which no `import` statement names."""


def helpers() -> list[Path]:
    """Return the project's files that components import: those whose names begin with `_`, and layers of networks."""
    of_components = set(components.own().values())
    return [path for path in components.own_files() if path not in of_components]


def faults(kind: str, name: str, path: Path, settings: Settings) -> list[str]:
    """Return what is wrong with a component, where, and what to do."""
    found = imports(path)
    with explained(found, str(path)):
        if not found:  # else it may not even be imported
            module = components.load(kind, name)
            if Path(str(module.__file__)).resolve() != path.resolve():
                found.append(f"{path}: the module {module.__name__} is {module.__file__}: rename the file")
            found += [f"{path}: {fault}" for fault in _builder_faults(kind, module)]
            code = fingerprint.closure([components.module_name(kind, name)])
            if components.module_name(kind, name) not in code:
                found.append(f"{path}: not in the fingerprint: name it as other components are, such as mine.py")
            if kind == "evaluation.extractors" and not found and not hasattr(module, "prepare"):
                found += [f"{path}: {fault}" for fault in _extractor_faults(module, settings)]
    return found


def imports(path: Path) -> list[str]:
    """Return the imports of a file that the fingerprint cannot follow, and what to write instead."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        return [f"{path}:{line}: not Python: {getattr(error, 'msg', error)}"]
    return [f"{path}:{line}: {why}" for line, why in _unfollowed(tree, path)]


def _unfollowed(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    package = ".".join([components.PACKAGE, *path.parent.relative_to(COMPONENTS).parts])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            inner = package.split(".")[: len(package.split(".")) - node.level + 1]
            whole = ".".join([*inner, *([node.module] if node.module else [])])
            yield (node.lineno, f"the fingerprint does not follow relative imports: write `from {whole} import …`")
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in names:
                yield from ((node.lineno, why) for why in _outside(name.split(".")[0], path, package))
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            of = node.func.value if isinstance(node.func, ast.Attribute) else None
            if called in DYNAMIC and not (called == "eval" and of is not None):  # `network.eval()` is torch's
                yield (node.lineno, f"{called}() runs code that is not in the fingerprint: use an import statement")
            elif called == "load" and isinstance(of, ast.Name) and of.id == "components":
                yield node.lineno, "components.load(), which the fingerprint does not follow: use an import statement"


def _outside(top: str, path: Path, package: str) -> Iterator[str]:
    """Yield why the import of a file of the project as a top-level module is wrong."""
    if top in sys.stdlib_module_names or top == components.PACKAGE:
        return
    if (path.parent / f"{top}.py").is_file():
        yield f"import {top}, which the fingerprint does not follow: write `from {package} import {top}`"
    elif Path(f"{top}.py").is_file() or Path(top, "__init__.py").is_file():
        yield f"import {top} of the project's folder, which the fingerprint does not follow: move it to {path.parent}/"


def _builder_faults(kind: str, module: ModuleType) -> Iterator[str]:
    names = OF_A_RECIPE.get(kind, ())
    builders = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if names and not builders:
        yield f"no {' and no '.join(names)}: end the file with `{names[0]} = YourClass`"
    for name, builder in builders.items():
        yield from _parameter_faults(name, builder, _positional(_shipped_builder(kind, name)))
    for name in FUNCTIONS.get(kind, ()):
        if not callable(getattr(module, name, None)):
            yield f"no function {name}: see {kind.replace('.', '/')}/_base.py"
    if kind == "data.sources" and not isinstance(getattr(module, "INPUTS", None), tuple):
        yield "no constant INPUTS, a tuple of keys of params.yaml's dataset section, such as (): add it"


def _parameter_faults(name: str, builder: Any, expected: list[str]) -> Iterator[str]:
    if not callable(builder):
        yield f"{name} is no class or function: write `{name} = YourClass`"
        return
    if extra := _positional(builder)[len(expected) :]:
        yield f"{name}: {', '.join(extra)}: a recipe sets keyword-only parameters: write `*,` before {extra[0]}"
    missing = expected[len(_positional(builder)) :]
    if missing and not any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(builder).parameters.values()):
        yield f"{name}: it gets {', '.join(expected)} in this order: add {', '.join(missing)}"
    for parameter, (annotation, _) in components.parameters(builder).items():
        if annotation is Any:
            yield f"{name}: {parameter} has no annotation, which says what is legal: write `{parameter}: float = …`"
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(builder).parameters.values()):
        yield f"{name}: **kwargs would take a misspelt key: name the parameters after `*,`"


def _shipped_builder(kind: str, name: str) -> Any:
    """Return the builder of a component of the kind that comes with Ganealogy: its positional parameters are legal."""
    for path in sorted(components.SOURCE.joinpath(*kind.split(".")).glob("[!_]*.py")):
        module = components.load(kind, path.stem)
        if hasattr(module, name):
            return getattr(module, name)
    raise AssertionError(f"no {name} in {kind}")


def _positional(builder: Any) -> list[str]:
    parameters = inspect.signature(builder).parameters.values()
    return [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def _extractor_faults(module: ModuleType, settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the features of eight random pictures."""
    import numpy as np

    size, channels = settings.dataset.image_size, settings.dataset.channels
    images = np.random.default_rng(0).integers(0, 256, (8, size, size, channels), np.uint8)
    extractor = module.load("cpu")
    features = extractor.features(images)
    if features.dtype != np.float32 or features.shape != (8, extractor.dimension):
        expected = f"float32 (8, {extractor.dimension})"
        yield f"features of 8 pictures are {features.dtype} {features.shape}, expected {expected}: see its dimension"
    elif not np.isfinite(features).all():
        yield "features of random pictures are not finite: check for divisions by 0"
    elif not np.allclose(extractor.features(images[:1]), features[:1], rtol=1e-4, atol=1e-5):
        yield "a picture's features depend on the others of its batch: use evaluation mode, and no mean over the batch"
