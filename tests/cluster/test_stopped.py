"""Ctrl-C during `ganealogy repro`: one line of output, no process left, a checkpoint to resume from."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.pipeline import Workspace, fresh

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(1200)
WAIT_S = 500.0


def checkpoints(workspace: Workspace) -> list[Path]:
    return list((workspace.path / "build" / "wip").glob("*/checkpoints/*.json"))


def test_ctrl_c_stops_all_processes_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    workspace = fresh(tmp_path / "with spaces")
    workspace.edit("params.yaml", "versions: [v1, v3]", "versions: [v1]")
    workspace.edit("params.yaml", "kimg: 0.064", "kimg: 1000")
    workspace.edit("params.yaml", "ticks: 2", "ticks: 1000")
    with subprocess.Popen(
        [sys.executable, "-m", "ganealogy", "repro", "--jobs", "1"],
        cwd=workspace.path,
        env=workspace.environment(GANEALOGY_SCRATCH=str(tmp_path / "scratch")),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    ) as driver:
        deadline = time.monotonic() + WAIT_S
        while not checkpoints(workspace):
            assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
            time.sleep(0.1)
        children = psutil.Process(driver.pid).children(recursive=True)
        names = {name for process in children for name in (process.name(), *process.cmdline()[-3:])}
        assert {"raylet", "train"} <= names, names
        niceness = [
            process.nice() - psutil.Process().nice() for process in children if "train" in process.cmdline()[-3:]
        ]
        assert max(niceness) <= 5, "MLflow's process (19) would slow the training down"
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the foreground process group
        output, _ = driver.communicate(timeout=WAIT_S)
        _, alive = psutil.wait_procs(children, timeout=30)
        left = [process.cmdline() for process in alive]
        for process in alive:
            process.kill()
    assert driver.returncode == 130, output
    assert output.splitlines()[-1] == "ganealogy: stopped" and "Traceback" not in output, output
    assert re.search(r"^dashboard  http://127\.0\.0\.1:\d+$", output, re.MULTILINE), output
    assert left == []
    assert checkpoints(workspace), "no checkpoint to resume from"
    assert "train@v1-0" not in (workspace.path / "dvc.lock").read_text()
