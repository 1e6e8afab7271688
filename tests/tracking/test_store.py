"""Each fault of the store costs seconds and one line of output, and damages no store."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from ganealogy import tracking
from ganealogy.tracking import store
from ganealogy.workspace import RunDir, run_dir

pytestmark = pytest.mark.timeout(120)
"""MLflow itself would retry for four minutes."""


def assert_one_warning(finished: RunDir, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    result = tracking.sync(finished)
    assert result.store_failed
    assert result.run_id is None
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for word in (*words, "v3 seed 1", "ganealogy sync"):
        assert word in lines[0]


def test_four_processes_can_create_the_store_at_once(empty_project: Path, lab: SimpleNamespace) -> None:
    code = """
import sys
from ganealogy import tracking
from ganealogy.tracking import store
from ganealogy.workspace import run_dir
store.LOCK_WAIT_S = 100  # of a busy machine
sys.exit(tracking.sync(run_dir("v3", int(sys.argv[1]))).warning)
"""
    for seed in range(4):
        lab.make_run(empty_project, "v3", seed, "interrupted")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(seed)], env=environment, stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        names = sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id]))
    assert names == [f"v3 seed {seed}" for seed in range(4)]
    assert not list(Path().glob("*.new*"))


def test_a_damaged_store_costs_one_warning(finished: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mlflow.db").write_bytes(b"this is no database " * 1000)
    assert_one_warning(finished, capsys, "not a database")


def test_a_read_only_store_costs_one_warning(
    finished: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = str(Path("mlflow.db").resolve()).replace(" ", "%20")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///file:{database}?mode=ro&uri=true")
    assert_one_warning(finished, capsys, "readonly")


def test_a_database_locked_by_another_program_costs_one_warning(
    finished: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = sqlite3.connect("mlflow.db")
    try:
        connection.execute("BEGIN EXCLUSIVE")
        assert_one_warning(finished, capsys, "locked")
    finally:
        connection.close()
    assert tracking.sync(finished).warning is None


def test_a_store_locked_by_another_sync(
    finished: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(store, "LOCK_WAIT_S", 0.5)
    with FileLock("mlflow.db.lock", is_singleton=False):
        assert_one_warning(finished, capsys, "another process")


def test_a_folder_that_cannot_be_created(
    finished: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a file instead of a folder")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "file"))
    assert_one_warning(finished, capsys, f"exists: '{tmp_path / 'file'}'")


def test_a_dead_server_costs_one_warning(
    finished: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    assert_one_warning(finished, capsys, f"127.0.0.1:{port}")
    tracking.sync(finished)
    assert "secret" not in capsys.readouterr().err


@contextmanager
def hanging_server() -> Iterator[int]:
    """Accept connections without an answer."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()
    assert connections, "no connection"


def test_a_hanging_server_costs_one_warning(
    finished: RunDir, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with hanging_server() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        assert_one_warning(finished, capsys, f"127.0.0.1:{port}")
        lab.make_run(Path(), "v1", 0, "interrupted")
        assert len(tracking.sync_all(Path())) == 1  # the first failure ends it: not one timeout per run
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert [result.warning for result in tracking.sync_all(Path())] == [None, None, None]


def test_a_kill_during_the_creation_leaves_no_store(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SqlAlchemyStore, "delete_experiment", die)
        with store.open_client():
            pass
    assert not Path("mlflow.db").exists()
    with store.open_client() as client:
        assert client.search_experiments() == []


def test_the_users_store_takes_precedence(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://name:password@mlflow.example.org/base")
    assert store.uri() == "https://name:password@mlflow.example.org/base"
    assert store.display_uri() == "https://mlflow.example.org/base"
    assert store.artifact_location("anime 64×64") is None
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert store.uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert store.artifact_location("anime 64×64") == (tmp_path / "mlartifacts/anime-64x64").as_uri()


def test_importing_tracking_imports_no_mlflow() -> None:
    code = "import sys, ganealogy.tracking; sys.exit(any(m in sys.modules for m in ('mlflow', 'torch', 'pandas')))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )


def test_a_moved_project_keeps_its_store(
    finished: RunDir,
    project: Path,
    lab: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_id = tracking.sync(finished).run_id
    assert run_id is not None
    capsys.readouterr()
    moved = project.with_name("moved too")
    project.rename(moved)
    monkeypatch.chdir(moved)
    with store.open_client() as client:
        assert "the project was at" in capsys.readouterr().err
        assert "sample/grid.png" in [file.path for file in client.list_artifacts(run_id, "sample")]
        [experiment] = client.search_experiments()
        assert experiment.artifact_location.startswith(moved.as_uri())
        [version] = client.search_model_versions()
        address = client.get_model_version_download_uri(version.name, version.version)
        assert (Path(unquote(urlsplit(address).path)) / "MLmodel").is_file()
    result = tracking.sync(run_dir("v3", 1, moved))
    assert result.run_id == run_id
    assert set(result.posted.values()) == {0}, result.posted
    assert capsys.readouterr().err == ""


def test_opening_a_store_leaves_the_environment_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow sets the variable, and child processes in another project would post to this store."""
    import mlflow

    with store.open_client():
        assert "MLFLOW_TRACKING_URI" not in os.environ
        assert mlflow.get_tracking_uri() == store.uri()
    address = f"sqlite:///{project / 'user.db'}"
    shutil.copy(project / "mlflow.db", project / "user.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with store.open_client():
        assert os.environ["MLFLOW_TRACKING_URI"] == address == mlflow.get_tracking_uri()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with store.open_client():
        assert mlflow.get_tracking_uri() == f"sqlite:///{project}/mlflow.db"
