"""Several plans at once: each folder is whole, as one of them wrote it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from ganealogy.stages import plan


def _write(folder: Path, name: int, files: int) -> None:
    content: Any = {f"{part}/{index}.json": {"by": name} for part in ("stages", "versions") for index in range(files)}
    for _ in range(10):
        plan.write(content, folder)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_plans_that_race_leave_all_files_of_one_of_them(processes: int, tmp_path: Path) -> None:
    folder = tmp_path / "build/plan"
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_write, args=(folder, name, 6)) for name in range(processes)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * processes
    found = [json.loads(path.read_text())["by"] for path in folder.rglob("*.json")]
    assert len(found) == 12 and len(set(found)) == 1
    assert sorted(path.name for path in folder.parent.iterdir() if not path.name.endswith(".lock")) == ["plan"]
