"""Any value anywhere in a record that a stage reads ends in success or in one line: other types, lost keys."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

import pytest
from faults.test_fuzz import ends_well

from ganealogy import api
from ganealogy.errors import GanealogyError
from ganealogy.evaluation import evaluate, reference
from ganealogy.evaluation.extractors import pixel8
from ganealogy.record_types import StagePlan, VersionPlan
from ganealogy.runs import store
from ganealogy.sampling import sample
from ganealogy.stages import _stage
from ganealogy.tracking.context import Context
from ganealogy.workspace import plan_path, run_dir, stage_plan_path

STRANGE = (None, True, -1, 2**70, 1e308, "", "../../x", [], [[1]], {}, {"": None})


def damages(content: Any) -> Iterator[Any]:
    """Yield the record with each value, down to two levels below the top, lost or replaced by one of another kind."""

    def places(value: Any, depth: int) -> Iterator[tuple[Any, Any]]:
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 2)):
            yield value, key
            if isinstance(value[key], dict | list) and depth:
                yield from places(value[key], depth - 1)

    for turn, (parent, key) in enumerate(places(content, 3)):
        kept = parent[key]
        for strange in (STRANGE[turn % len(STRANGE)], STRANGE[(turn + 5) % len(STRANGE)]):
            parent[key] = strange
            yield content
        parent[key] = kept
        if isinstance(parent, dict):
            del parent[key]
            yield content
            parent[key] = kept
    yield from STRANGE


def settings(name: str) -> Any:
    return json.loads(Path(f"build/plan/stages/{name}.json").read_text())["settings"]


def sampled() -> None:
    sample._read_run(run_dir("v1", 0))


def measured() -> None:
    with redirect_stderr(io.StringIO()):  # bars of progress
        evaluate.evaluate(run_dir("v1", 0), {**settings("evaluate"), "metrics": ["fd_pixel8"]}, Path("data/reference"))


READERS: dict[str, tuple[str, Callable[[], object]]] = {
    "run.json, to sample": ("build/runs/v1/train/0/run.json", sampled),
    "run.json, to load": ("build/runs/v1/train/0/run.json", lambda: api.load_generator("v1", 0, "last")),
    "metrics.json": ("build/runs/v1/evaluate/0/metrics.json", api.runs),
    "tree.json": ("build/plan/tree.json", api.runs),
    "tree.json, for MLflow": ("build/plan/tree.json", lambda: Context.load().run_directories()),
    "version plan": (str(plan_path("v1")), lambda: _stage.read_plan(plan_path("v1"), VersionPlan)),
    "stage plan": (str(stage_plan_path("sample")), lambda: _stage.read_plan(stage_plan_path("sample"), StagePlan)),
    "anchors.json": (
        "data/reference/anchors.json",
        lambda: reference.read_reference(Path("data/reference"), pixel8.load(), (16, 16, 3)),
    ),
    "sample.json": ("build/runs/v1/sample/0/sample.json", measured),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_any_value_in_a_record_ends_well(name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    path, read = READERS[name]
    whole = Path(path).read_bytes()
    read()  # as it was
    tried = refused = 0
    for content in damages(json.loads(whole)):
        Path(path).write_text(json.dumps(content))
        tried += 1
        refused += bool(ends_well(read))
    assert tried > 20 and refused > tried // 20, (tried, refused)


def test_any_value_in_an_entry_of_the_store_leaves_the_others(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    [_, entry] = [found for _, found in store.entries()][:2]
    whole = (entry.path / "entry.json").read_text()
    copy = workspace / "copy"
    shutil.copytree(entry.path, copy)
    others = len(list(store.entries())) - 1
    for content in damages(json.loads(whole)):
        if not entry.path.exists():
            shutil.copytree(copy, entry.path)
        (entry.path / "entry.json").write_text(json.dumps(content))
        with suppress(GanealogyError):
            assert len(list(store.entries())) >= others
