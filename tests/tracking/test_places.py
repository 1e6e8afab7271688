"""Where the store is: found by plain MLflow, in a folder of any name, its files beside it, and nothing else left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.pipeline import ROOT

from ganealogy import tracking
from ganealogy.tracking import store
from ganealogy.workspace import RunDir, run_dir

COUNT = """
import mlflow
client = mlflow.MlflowClient()
for found in client.search_experiments():
    for run in client.search_runs([found.experiment_id]):
        print(found.name, run.info.run_name, [file.path for file in client.list_artifacts(run.info.run_id, "sample")])
"""
"""What a person types in the project, without any setting."""


def plain(folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COUNT], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def synced(run: RunDir) -> str:
    result = tracking.sync(run)
    assert result.warning is None and result.run_id is not None
    return result.run_id


def registered_file() -> Path:
    """Return the path of the file MLmodel of `best`."""
    import mlflow

    with store.open_client():
        return Path(mlflow.artifacts.download_artifacts("models:/avatars-16x16@best")) / "MLmodel"


def test_plain_mlflow_in_the_project_has_all_runs(finished: RunDir, project: Path) -> None:
    synced(finished)
    said = plain(project)
    assert "avatars 16×16 v3 seed 1" in said and "sample/grid.png" in said
    assert sorted(path.name for path in project.iterdir()) == [
        "build", "data", "mlartifacts", "mlflow.db", "mlflow.db.lock",
    ]  # fmt: skip


def test_a_store_that_mlflow_made_first_is_used(empty_project: Path, lab: SimpleNamespace) -> None:
    assert plain(empty_project) == "" and (empty_project / "mlflow.db").exists()
    synced(lab.make_run(empty_project))
    assert "v3 seed 1" in plain(empty_project)


def test_an_experiments_copy_posts_to_the_projects_store(
    finished: RunDir, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`dvc exp run --temp`."""
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    synced(run_dir("v3", 1))
    assert "v3 seed 1" in plain(project)
    assert not (copy / "mlflow.db").exists()


@pytest.mark.parametrize(
    "name", ["mlflow.db", "mlflow.db.lock", "mlflow.db-journal", "docs/mlflow.db", "mlartifacts/a/x.png"]
)
def test_git_ignores_the_store(name: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0


def test_a_store_below_build_goes_on(finished: RunDir, project: Path) -> None:
    """Of an earlier version; a second one would have half of the runs."""
    old = project / "build/mlflow/mlflow.db"
    old.parent.mkdir()
    (project / "mlflow.db").rename(old)
    synced(finished)
    assert not (project / "mlflow.db").exists()
    assert registered_file().is_relative_to(old.parent)
    shutil.rmtree(project / "build/mlflow")
    synced(finished)
    assert "v3 seed 1" in plain(project)


@pytest.mark.parametrize("name", ["a%20b", "a b#c", "ä?", "x;y", "100%", 'it\'s "q"', "%41", "a&b=c@d", "[x]"])
def test_a_project_in_a_folder_of_any_name(
    empty_project: Path, fresh_store: Path, lab: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = empty_project.with_name(name)
    empty_project.rename(root)
    monkeypatch.chdir(root)
    shutil.copy(fresh_store, root)
    run = lab.make_run(root, status="interrupted")
    run_id = synced(run)
    with store.open_client() as client:
        assert {file.path for file in client.list_artifacts(run_id, "train")} == {
            "train/run.json",
            "train/metrics.jsonl",
        }
        location = client.get_experiment_by_name("avatars 16×16").artifact_location
    assert location == (root / "mlartifacts/avatars-16x16").as_uri()
    assert list((root / "mlartifacts").rglob("recipe.yaml"))
    assert [path.name for path in root.parent.iterdir()] == [name], "a folder beside the project"


@pytest.mark.parametrize("name", ["a%20b", "ä?"])
def test_a_store_is_made_in_a_folder_of_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with store.open_client() as client:
        assert client.search_experiments() == []
    assert sorted(path.name for path in Path().iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_are_beside_a_store_that_outlives_a_clone(
    finished: RunDir, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (project / "mlflow.db").rename(shared / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}/mlflow.db")
    clone = tmp_path / "clone"
    shutil.copytree(project, clone)
    run_id = synced(finished)
    monkeypatch.chdir(clone)
    shutil.rmtree(project)
    result = tracking.sync(run_dir("v3", 1))
    assert (result.run_id, sum(result.posted.values())) == (run_id, 0)
    assert registered_file().is_relative_to(shared)
    assert not project.exists(), "the removed clone is back"


@pytest.mark.parametrize("lost", ["mlartifacts", "mlartifacts/*/*/artifacts/recipe.yaml", "mlartifacts/*/models"])
def test_files_that_are_lost_are_posted_again(finished: RunDir, project: Path, lost: str) -> None:
    run_id = synced(finished)
    [path] = project.glob(lost)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert synced(finished) == run_id
    assert list(project.glob("mlartifacts/*/*/artifacts/recipe.yaml"))
    assert registered_file().exists()
    assert sum(tracking.sync(finished).posted.values()) == 0


@pytest.mark.parametrize("link", ["symlink", "hardlink", "chain"])
def test_what_dvc_links_to_its_cache_reaches_mlflow(finished: RunDir, project: Path, tmp_path: Path, link: str) -> None:
    """`dvc config cache.type symlink,hardlink`: files of outputs are read-only links to names without a suffix."""
    for number, path in enumerate(sorted(path for path in (project / "build/runs").rglob("*") if path.is_file())):
        cached = tmp_path / "cache" / f"{number:032x}"
        cached.parent.mkdir(exist_ok=True)
        path.rename(cached)
        cached.chmod(0o444)
        if link == "hardlink":
            os.link(cached, path)
        elif link == "chain":
            (tmp_path / f"{number}").symlink_to(cached)
            path.symlink_to(tmp_path / f"{number}")
        else:
            path.symlink_to(cached)
    run_id = synced(finished)
    with store.open_client() as client:
        assert client.search_logged_models([client.get_run(run_id).info.experiment_id])
        assert "sample/grid.png" in [file.path for file in client.list_artifacts(run_id, "sample")]
        assert len(client.list_artifacts(run_id, "images")) == 6
    assert (registered_file().parent / "artifacts/generator-best.safetensors").is_file()


def test_nothing_is_left_in_the_temporary_folder(
    finished: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    synced(finished)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("seconds", [-1, -(10**9), 0])
def test_files_from_before_1970(finished: RunDir, lab: SimpleNamespace, seconds: int) -> None:
    for path in Path("build/runs").rglob("*"):
        os.utime(path, (seconds, seconds))
    run_id = synced(finished)
    with store.open_client() as client:
        assert client.get_run(run_id).info.start_time == 1
    assert sum(tracking.sync(finished).posted.values()) == 0


def test_a_clock_that_was_set_back(finished: RunDir, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's latest value is that with the latest time, so the evaluation was posted at each sync."""
    import time

    from helpers.fake_runs import metrics_json, write_run

    run_id = synced(finished)
    write_run(finished, metrics=metrics_json("v3", 1, metrics={"fd_pixel8": 99.0}, protocol={}))
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    synced(finished)
    assert sum(tracking.sync(finished).posted.values()) == 0
    with store.open_client() as client:
        assert client.get_run(run_id).data.metrics["evaluate/fd_pixel8"] == 99.0
