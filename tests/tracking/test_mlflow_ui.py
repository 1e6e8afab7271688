"""The UI serves loopback alone, prints the address of the comparison, and stops at Ctrl-C."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import ganealogy
from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.tracking import mlflow_ui, store
from ganealogy.workspace import RunDir


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the UI in a new process; yield it when it serves, with its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(ganealogy.__file__).parents[1])}
    command = [sys.executable, "-c", f"from ganealogy import tracking; tracking.ui({port})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as ui:
        try:
            yield ui, port
        finally:
            ui.kill()


def test_it_serves_the_comparison_until_ctrl_c(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking.sync(finished)
    folder = Path("temporary")
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder.resolve()))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}?timeout=77")
    with serving() as (ui, port):
        assert ui.stdout is not None
        address = ui.stdout.readline()
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning" in address
        assert re.search(r"viewStateShareKey=ganealogy-versions&compareRunsMode=CHART\s*$", address)
        assert "viewStateShareKey=ganealogy-runs" in ui.stdout.readline()
        assert status(port, f"127.0.0.1:{port}") == 200
        assert status(port, f"evil.example.org:{port}") == 403  # DNS rebinding
        commands = [process.cmdline() for process in psutil.Process(ui.pid).children(recursive=True)]
        assert len(commands) >= 2
        assert "timeout=77" not in str(commands), "`ps` shows the address of the store, which may have a password"
        ui.send_signal(signal.SIGINT)
        assert ui.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        status(port, "localhost")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_its_server_ends_with_it(finished: RunDir, number: int) -> None:
    """It has not been synced before: an empty store is filled. SIGHUP is that of a closed terminal."""
    with serving() as (ui, port):
        assert ui.stdout is not None
        assert "compareRunsMode=CHART" in ui.stdout.readline()
        family = psutil.Process(ui.pid).children(recursive=True)
        ui.send_signal(number)
        assert ui.wait(20) == (0 if number != signal.SIGKILL else -number)
        _, left = psutil.wait_procs(family, timeout=20)
    assert [process.cmdline() for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    with pytest.raises(ConnectionRefusedError):
        status(port, "localhost")


@pytest.mark.parametrize("fault", ["no store", "empty store"])
def test_an_empty_store_is_filled(
    project: Path, lab: SimpleNamespace, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `rm -rf build mlflow.db` and a `dvc repro` that takes all from DVC's cache, nothing has posted the runs."""
    lab.make_run(project, status="interrupted")
    if fault == "no store":
        (project / "mlflow.db").unlink()
    monkeypatch.setattr(mlflow_ui, "free_port", stop)
    with pytest.raises(StoppedError):
        tracking.ui()
    with store.open_client() as client:
        assert len(client.search_runs(["1"])) == 1
    assert "no run" not in capsys.readouterr().err


def test_without_runs_it_says_how_to_get_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mlflow_ui, "free_port", stop)
    with pytest.raises(StoppedError):
        tracking.ui()
    assert "no run has been trained yet; `dvc repro` trains them" in capsys.readouterr().err


def test_outside_of_a_project_it_leaves_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanealogyError, match="dvc repro plan"):
        tracking.ui()
    assert list(tmp_path.iterdir()) == []


class StoppedError(Exception):
    pass


def stop(*_: object) -> None:
    raise StoppedError


def status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_port_in_use_is_an_error_that_names_the_option(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(GanealogyError, match="--port"):
        tracking.ui(taken.getsockname()[1])


def test_for_a_server_of_the_user_nothing_is_served(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: no answer
    with pytest.raises(GanealogyError, match=r"127\.0\.0\.1:9"):
        tracking.ui(5999)


def test_a_port_in_use_is_skipped() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = mlflow_ui.free_port("127.0.0.1", range(port, port + 20))
    assert port < free < port + 20
