"""The process that posts a running training: it starts late and ends with the training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import ganealogy
from ganealogy.tracking import LiveSync, store
from ganealogy.workspace import unfinished

SOURCES = str(Path(ganealogy.__file__).parents[1])


@pytest.fixture
def work(project: Path, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a running training, in build/wip."""
    monkeypatch.setenv("PYTHONPATH", SOURCES)
    monkeypatch.setattr(store, "LOCK_WAIT_S", 150)  # the process has a low priority on a busy machine
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
    lab.make_run(project, status="running", ticks=1, work="abc")
    return project / "build/wip/abc"


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def run_id() -> str | None:
    with store.open_client() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments) if experiments else []
        return runs[0].info.run_id if runs else None


def test_a_short_training_starts_no_process(work: Path) -> None:
    with LiveSync(work, start_after_s=30) as live:
        pass
    assert live.process is None


def test_it_posts_ticks_and_system_metrics_and_ends_with_the_training(work: Path, lab: SimpleNamespace) -> None:
    with LiveSync(work, start_after_s=0) as live:
        until(lambda: run_id() is not None)
        assert lab.contents(run_id())["status"] == "RUNNING"
        until(lambda: "system/cpu_utilization_percentage" in lab.contents(run_id())["metrics"])
        for tick in (1, 2):
            lab.add_tick(unfinished(work), tick)
        lab.set_status(unfinished(work), "diverged", steps=20, best=None, tracker="pixel8", reason="NaN")
        live.start_time -= 3600  # it waits for 1 % of the training's time
    assert live.process is not None
    assert live.process.returncode == 0
    held = lab.contents(run_id())
    assert held["status"] == "FAILED"
    assert [step for step, _ in held["metrics"]["train/kimg"]] == [0, 10, 20]
    samples = held["metrics"]["system/cpu_utilization_percentage"]
    assert len({step for step, _ in samples}) == len(samples), "a sample was posted twice"
    assert all(0 <= percent <= 100 for _, percent in samples)
    assert all(megabytes > 20 for _, megabytes in held["metrics"]["system/system_memory_usage_megabytes"])
    assert not any("system" in path.read_text() for path in work.glob("train/*.json*")), "measured in the run directory"


def test_it_ends_when_the_training_is_killed(work: Path, lab: SimpleNamespace) -> None:
    code = """
import sys, time
from pathlib import Path
from ganealogy.tracking import LiveSync
with LiveSync(Path(sys.argv[1]), start_after_s=0) as live:
    while live.process is None:
        time.sleep(0.05)
    print(live.process.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(work)], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        follower = int(training.stdout.readline())
        until(lambda: run_id() is not None)
        training.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(follower), seconds=15)
    assert lab.contents(run_id())["status"] == "KILLED"


def is_alive(pid: int) -> bool:
    """A zombie counts as dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return "State:\tZ" not in status.read_text() if status.exists() else True
