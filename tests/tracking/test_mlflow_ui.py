"""The UI serves loopback alone, prints the address of the comparison, and stops at Ctrl-C."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ganealogy
from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.workspace import RunDir


def test_it_serves_the_comparison_until_ctrl_c(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking.sync(finished)
    monkeypatch.setenv("PYTHONPATH", str(Path(ganealogy.__file__).parents[1]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", f"from ganealogy import tracking; tracking.ui({port})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as ui:
        try:
            assert ui.stdout is not None
            address = ui.stdout.readline()
            assert f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning" in address
            assert re.search(r"viewStateShareKey=ganealogy-versions&compareRunsMode=CHART\s*$", address)
            assert "viewStateShareKey=ganealogy-runs" in ui.stdout.readline()
            assert status(port, f"127.0.0.1:{port}") == 200
            assert status(port, f"evil.example.org:{port}") == 403  # DNS rebinding
        finally:
            ui.send_signal(signal.SIGINT)
            assert ui.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        status(port, "localhost")


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
    from ganealogy.tracking import mlflow_ui

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = mlflow_ui.free_port("127.0.0.1", range(port, port + 20))
    assert port < free < port + 20
