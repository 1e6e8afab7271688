"""The tests that docs/faults.md names for each fault exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

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
