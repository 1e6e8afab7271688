"""`ganealogy noise`: one kind of draws varies per run, the runs are no seeds of the tree, nothing runs twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import trainings
from helpers.pipeline import Workspace

from ganealogy.stages import noise
from ganealogy.stages._jobs import Job
from ganealogy.workspace import run_dir, run_key

KINDS = noise.KINDS


def test_seed_0_is_the_trees_own_run_for_every_kind() -> None:
    planned = noise.planned("v1", [0, 4], 3)
    assert planned["all"] == [Job("v1", 0), Job("v1", 4)]
    for kind in KINDS:
        assert planned[kind] == [Job("v1", 0), Job("v1", 1, vary=kind), Job("v1", 2, vary=kind)]
    names = {job.name for jobs in planned.values() for job in jobs}
    assert len(names) == 2 + 3 * 2 and "v1-order-2" in names


def test_a_run_with_one_kind_varied_has_a_key_and_a_folder_of_its_own() -> None:
    keys = {run_key("plan", "data", seed, vary) for seed in (0, 1) for vary in ("", *KINDS)}
    assert len(keys) == 8
    folders = {run_dir("v1", 1, vary=vary) / "train" for vary in ("", *KINDS)}
    assert len(folders) == 4 and run_dir("v1", 1) / "train" == Path("build/runs/v1/train/1")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """After `ganealogy noise v1 --runs 2`."""
    workspace = Workspace(trainings.workspace(tmp_path_factory.mktemp("noise") / "tiny"))
    ganealogy(workspace, "reference")
    ganealogy(workspace, "noise", "v1", "--runs", "2")
    return workspace


def ganealogy(workspace: Workspace, *arguments: str) -> str:
    code, output, errors = attempt(workspace, *arguments)
    assert code == 0, errors
    return output


def attempt(workspace: Workspace, *arguments: str, jobs: str = "0") -> tuple[int, str, str]:
    source = str(trainings.ROOT / "src")
    command = [sys.executable, "-m", "ganealogy", *arguments]
    environment = workspace.environment(PYTHONPATH=source, GANEALOGY_JOBS=jobs)
    done = subprocess.run(
        command, cwd=workspace.path, env=environment, text=True, capture_output=True, timeout=280, check=False
    )
    return done.returncode, done.stdout, done.stderr


def stored(workspace: Workspace) -> dict[str, dict[str, object]]:
    """Return name → run.json of the trainings in the store."""
    found = {}
    for path in (workspace.path / "build/store/train").glob("*"):
        name = json.loads((path / "entry.json").read_text())["run"]
        found[name] = json.loads((path / "out/run.json").read_text())
    return found


def test_the_record_has_a_number_of_each_run(workspace: Workspace) -> None:
    record = json.loads((workspace.path / "reports/noise.json").read_text())
    plan = json.loads((workspace.path / "build/plan/versions/v1.json").read_text())
    assert (record["version"], record["runs"], record["plan"]) == ("v1", 2, plan["fingerprint"])
    assert record["lead"] == "fd_pixel8" and record["protocol"]["extractor"] == "pixel8"
    values = record["values"]
    expected = {kind: ["0", "1"] for kind in KINDS} | {"all": ["0"]}
    assert {kind: sorted(each) for kind, each in values.items()} == expected
    assert len({values[kind]["0"] for kind in (*KINDS, "all")}) == 1
    assert len({values[kind]["1"] for kind in KINDS} | {values["all"]["0"]}) == 4


def test_the_runs_are_in_the_store_and_nowhere_else(workspace: Workspace) -> None:
    assert stored(workspace).keys() == {"v1-0", *(f"v1-{kind}-1" for kind in KINDS)}
    assert [stored(workspace)[f"v1-{kind}-1"]["vary"] for kind in KINDS] == [*KINDS]
    assert "vary" not in stored(workspace)["v1-0"]
    assert not (workspace.path / "build/runs").exists() and not [*(workspace.path / "build/wip").glob("*/*")]


def test_a_second_time_nothing_is_trained(workspace: Workspace) -> None:
    def times() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in (workspace.path / "build/store").rglob("entry.json")}

    before, record = times(), (workspace.path / "reports/noise.json").read_bytes()
    printed = ganealogy(workspace, "noise", "v1", "--runs", "2")
    assert times() == before and (workspace.path / "reports/noise.json").read_bytes() == record
    assert "order of the batches" in printed and "dvc repro" in printed


def test_the_first_grid_is_that_of_seed_0_unless_the_weights_vary(workspace: Workspace) -> None:
    grids = {}
    for path in (workspace.path / "build/store/train").glob("*"):
        name = json.loads((path / "entry.json").read_text())["run"]
        grids[name] = (path / "out/grids/000000.png").read_bytes()
    assert grids["v1-order-1"] == grids["v1-steps-1"] == grids["v1-0"] != grids["v1-initialise-1"]


def test_runs_that_failed_are_done_by_the_commands_in_the_message(workspace: Workspace) -> None:
    (workspace.path / "data/reference/pixel8.npz").unlink()
    shutil.rmtree(workspace.path / "build/store/evaluate")
    code, _, said = attempt(workspace, "noise", "v1", "--runs", "2", jobs="1")
    assert code == 2, said
    again, first = re.search(r"`ganealogy (noise .*?)`", said), re.search("`dvc repro (.*?)`", said)
    assert again and first, said
    ganealogy(workspace, first[1])
    assert "order of the batches" in ganealogy(workspace, *again[1].split())
