"""A job on several processes, one per GPU on a node, here on CPUs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pipeline import fresh

from ganealogy.cluster import node_task
from ganealogy.workspace import run_dir

pytestmark = pytest.mark.timeout(900)


def test_two_ranks_train_and_evaluate_a_run(tmp_path: Path) -> None:
    """With two ranks, as `--gpus-per-run 2` does on a node, v3 is trained again.

    The untrained generator is the same. Later ticks are only similar: each rank draws its own random numbers. At equal
    draws losses are equal: training/test_distributed.py. Two ranks measure the same distance as one process.
    """
    workspace = fresh(tmp_path / "work")
    workspace.edit("params.yaml", "[v1, v3]", "[v3]")
    workspace.dvc("repro", "evaluate@v3")
    run = run_dir("v3", 0, workspace.path)

    def ticks() -> list[dict[str, float]]:
        return [json.loads(line) for line in (run / "train/metrics.jsonl").read_text().splitlines()]

    def distance() -> float:
        value: float = json.loads((run / "evaluate/metrics.json").read_text())["metrics"]["fd_pixel8"]
        return value

    before = ticks()
    shutil.rmtree(workspace.path / "build" / "store")
    shutil.rmtree(workspace.path / "build" / "runs")
    (workspace.path / "data").rename(tmp_path / "data")
    inputs = {name: str(tmp_path / name) for name in ("data/packed", "data/reference")}
    request = {"version": "v3", "seed": 0, "stages": ["train", "sample", "evaluate"], "remote": None}
    request |= {"inputs": inputs, "threads": 1, "ranks": 2, "scratch": str(tmp_path), "parent": os.getpid()}
    done = subprocess.run(
        [sys.executable, "-c", node_task.CHILD],
        cwd=workspace.path,
        env=workspace.environment(),
        input=json.dumps(request),
        text=True,
        stdout=subprocess.PIPE,
        timeout=600,
    )
    assert '"ended": ["done", "", [["train", ' in done.stdout, done.stdout
    after = ticks()
    assert [tick["step"] for tick in after] == [tick["step"] for tick in before]
    assert after[0]["fd_pixel8"] == pytest.approx(before[0]["fd_pixel8"], rel=1e-6)
    for name in ("d_loss", "g_loss", "fd_pixel8"):
        assert [tick[name] for tick in after[1:]] == pytest.approx([tick[name] for tick in before[1:]], rel=0.25)
    fd = distance()
    shutil.rmtree(workspace.path / "build" / "store" / "evaluate")
    done_alone = workspace.ganealogy("evaluate", "v3", "--seeds", "0")
    assert done_alone.returncode == 0, done_alone.stdout
    assert distance() == pytest.approx(fd, rel=1e-6)
