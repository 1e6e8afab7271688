"""The tests that docs/faults.md names for each fault, and SECURITY.md for each input, exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
SECTIONS = re.findall(r"^## (\d+)\. .+?\n\n((?:- .+\n?)+)", PAGE.read_text(), flags=re.M)


def defined_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_there_are_fifty_two_faults() -> None:
    assert [int(number) for number, _ in SECTIONS] == list(range(1, 53))


@pytest.mark.parametrize(("number", "lines"), SECTIONS)
def test_each_fault_has_its_tests(number: str, lines: str) -> None:
    listed = re.findall(r"^- `(.+?)`: `(.+?)`$", lines, flags=re.M)
    assert len(listed) == len(lines.splitlines()) > 0, "one file and one test per line"
    missing = [f"{file}: {name}" for file, name in listed if name not in defined_in(Path("tests") / file)]
    assert not missing


def test_each_input_that_is_not_trusted_has_its_tests() -> None:
    rows = re.findall(r"^\| (.+?) \| .+? \| (?:no|as values, not as code) \|", SECURITY, flags=re.M)
    listed = re.findall(r"^- (.+?): `(\S+?\.py)`: `(\w+)`$", SECURITY, flags=re.M)
    assert set(rows) == {row for row, _, _ in listed} and len(rows) == 7
    assert [line for line in listed if line[2] not in defined_in(Path("tests") / line[1])] == []


def removing(path: Path) -> bool:
    """Return whether a module calls something that removes or renames a file."""
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    names = {node.func.attr: node for node in calls}  # type: ignore[attr-defined]
    of_paths = any(node.func.attr == "replace" and len(node.args) == 1 and not node.keywords for node in calls)  # type: ignore[attr-defined]
    return (
        of_paths
        or bool(names.keys() & {"unlink", "rmtree", "rmdir", "rename", "removedirs", "move"})
        or any(
            node.func.attr == "remove" and ast.unparse(node.func.value) in ("os", "fs", "self.fs", "store")  # type: ignore[attr-defined]
            for node in calls
        )
    )


def test_every_place_that_removes_files_is_listed() -> None:
    source = Path("src/ganealogy")
    found = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if removing(path)}
    rows = re.findall(r"^\| (`.+?`) \|", PAGE.read_text(), flags=re.M)
    listed = {name for row in rows for name in re.findall(r"`(.+?\.py)`", row)}
    assert found == listed
