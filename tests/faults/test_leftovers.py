"""Runs leave nothing outside the folders that they are for: git's status, home, temporary folder, MLflow's store."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh
from mlflow import MlflowClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning"),  # within MLflow
]

LIBRARIES = {".cache/matplotlib", ".config/matplotlib"}
"""What other libraries keep at home: matplotlib's list of fonts."""
KEPT = [".plan.lock"]
"""A lock's file stays: two processes could hold one that is removed between."""


@pytest.mark.parametrize(
    ("versions", "seeds"),
    [(["v1", "v3"], 1), pytest.param([f"v{number}" for number in range(1, 11)], 10, marks=pytest.mark.soak)],
    ids=["2 runs", "100 runs"],
)
def test_runs_leave_nothing_behind(versions: list[str], seeds: int, tmp_path: Path) -> None:
    workspace = fresh(tmp_path / "workspace")
    workspace.edit("params.yaml", "[v1, v3]", f"[{', '.join(versions)}]")
    workspace.edit("params.yaml", "seeds: [0]", f"seeds: {list(range(seeds))}")
    workspace.run("git", "commit", "-q", "-a", "--allow-empty", "-m", "more runs")
    places = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "temporary"}
    for folder in places.values():
        folder.mkdir()

    environment = {name: str(folder) for name, folder in places.items()}
    done = workspace.run(sys.executable, "-m", "ganealogy", "repro", check=False, timeout=3000, **environment)
    assert done.returncode == 0, done.stdout
    workspace.dvc("repro", **environment)

    assert workspace.run("git", "status", "--short").stdout.split() == ["??", "data/inputs.json", "??", "dvc.lock"]
    assert files(places["TMPDIR"]) == []
    assert [name for name in files(places["HOME"]) if not name.startswith(tuple(LIBRARIES))] == []
    assert [name for name in files(workspace.path / "build") if name.endswith((".tmp", ".lock"))] == KEPT
    assert list((workspace.path / "build/wip").iterdir()) == []
    check_store(workspace, versions, seeds)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def check_store(workspace: Workspace, versions: list[str], seeds: int) -> None:
    """Each run is in the store once, finished, with one model; beside them is only the run of all versions."""
    client = MlflowClient(f"sqlite:///{workspace.path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name != 'Default'")
    runs = client.search_runs([experiment.experiment_id])
    names = [f"{version} seed {seed}" for version in versions for seed in range(seeds)]
    assert sorted(str(run.info.run_name) for run in runs) == sorted([*names, "all versions"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    models = Counter(model.source_run_id for model in client.search_logged_models([experiment.experiment_id]))
    assert models == dict.fromkeys((run.info.run_id for run in runs if run.info.run_name != "all versions"), 1)
