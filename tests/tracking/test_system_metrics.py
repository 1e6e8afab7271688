"""What the live process says of the training process and of GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganealogy import tracking
from ganealogy.tracking import store
from ganealogy.tracking.system_metrics import Monitor


def nvidia_smi(folder: Path, body: str) -> str:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return str(program)


def test_it_measures_the_process_it_was_given(tmp_path: Path) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "x = bytearray(150_000_000)\nprint(flush=True)\nwhile True: pass"],
                            stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        monitor = Monitor(busy.pid, nvidia_smi(tmp_path, "exit 9"))
        busy_for = 0.0
        for _ in range(50):
            busy_for = max(busy_for, monitor.sample()["system/process_cpu_percentage"])
            if busy_for > 10:
                break
            subprocess.run(["sleep", "0.1"], check=True)
        assert busy_for > 10
        assert 150 < monitor.sample()["system/process_memory_megabytes"] < 400
    finally:
        busy.kill()
        busy.communicate()
    assert monitor.sample() == {}
    assert Monitor(busy.pid).sample() == {}, "gone before it began"


def test_gpus_are_counted_where_there_are_any(tmp_path: Path) -> None:
    there = Monitor(os.getpid(), nvidia_smi(tmp_path, "printf '0, 1000, 80000, 97\\n1, 0, 80000, 0\\n'")).sample()
    gpus = {name.removeprefix("system/"): value for name, value in there.items() if "gpu" in name}
    assert gpus == {
        "gpu_0_memory_usage_megabytes": pytest.approx(1048.576),
        "gpu_0_memory_usage_percentage": 1.25,
        "gpu_0_utilization_percentage": 97,
        "gpu_1_memory_usage_megabytes": 0,
        "gpu_1_memory_usage_percentage": 0,
        "gpu_1_utilization_percentage": 0,
    }


@pytest.mark.parametrize("body", ["exit 9", "echo 'No devices were found'", "echo '0, [N/A], [N/A], 3'"])
def test_a_failing_tool_is_asked_once(tmp_path: Path, body: str) -> None:
    monitor = Monitor(os.getpid(), nvidia_smi(tmp_path, f"echo x >> {tmp_path}/asked; {body}"))
    for _ in range(2):
        assert not [name for name in monitor.sample() if "gpu" in name]
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_store_that_is_down_gets_them_later(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = tracking.sync(finished).run_id
    assert run_id is not None
    monitor = Monitor(os.getpid())
    monitor.take()
    with monkeypatch.context() as patch:
        patch.setenv("DVC_ROOT", "/dev/null/nowhere")
        monitor.post(run_id)
    time.sleep(0.01)  # MLflow takes two equal values of one millisecond for one
    monitor.take()
    monitor.post(run_id)
    monitor.post(run_id)
    with store.opened() as client:
        assert len(client.get_metric_history(run_id, "system/process_memory_megabytes")) == 2
