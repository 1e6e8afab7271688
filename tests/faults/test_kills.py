"""Processes that are killed, stopped, or started twice: faults 1 to 5.

Each kill is a real SIGKILL, at a given step or at the n-th write to the disk.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import trainings

pytestmark = pytest.mark.timeout(3600)  # each process has its own deadline

SOAK = bool(os.environ.get("GANEALOGY_SOAK"))
VERSIONS = sorted(path.stem for path in Path("versions").glob("*.yaml"))
IN_CI = {"v1", "v6", "v10", "v12", "v16", "celeba-dcgan", "mnist-mlp", "mnist-dcgan"}
STEPS = 12
KILLED = -signal.SIGKILL


def whole(where: Path, version: str) -> dict[str, bytes]:
    """The result of an uninterrupted training and its samples."""
    folder = trainings.workspace(where, version)
    code, said = trainings.run(trainings.train, folder, version)
    assert code == 0, said
    assert trainings.run(trainings.sample, folder, version)[0] == 0
    return trainings.result(folder, version)


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """v1's uninterrupted result, and the number of disk operations of its training."""
    folder = tmp_path_factory.mktemp("whole") / "v1"
    result = whole(folder, "v1")
    return result, int((folder / "writes").read_text())


@pytest.mark.parametrize(
    "version", [pytest.param(name, marks=[] if name in IN_CI else [pytest.mark.soak]) for name in VERSIONS]
)
def test_a_training_killed_three_times_ends_in_the_same_bytes(version: str, tmp_path: Path) -> None:
    """Fault 2, for weights, curves, grids and samples."""
    expected = whole(tmp_path / "whole", version)
    folder = trainings.workspace(tmp_path / "killed", version)
    for step in sorted(random.Random(version).sample(range(1, STEPS), 3)):
        code, said = trainings.run(trainings.train, folder, version, step)
        assert code == KILLED, said
    code, said = trainings.run(trainings.train, folder, version)
    assert code == 0, said
    assert trainings.run(trainings.sample, folder, version)[0] == 0
    assert trainings.result(folder, version) == expected
    assert trainings.litter(folder) == []


def moments(count: int) -> list[int]:
    """Numbers of all writes of a training, or of some: the first, those of a checkpoint, those of publishing."""
    every = range(1, count + 1)
    return list(every) if SOAK else sorted({*random.Random(0).sample(every, 5), *list(every)[-8::2]})


def test_a_kill_at_any_write_leaves_nothing_half_written(v1: tuple[dict[str, bytes], int], tmp_path: Path) -> None:
    """Fault 1: also between a checkpoint's two files, and while the run is published."""
    expected, writes = v1
    assert writes > 30, "the writes are not seen any more"
    for moment in moments(writes):
        folder = trainings.workspace(tmp_path / f"at {moment}", "v1")
        code, said = trainings.run(trainings.train, folder, "v1", None, moment)
        assert code == KILLED, said
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix == ".json" and not path.name.startswith("."):
                json.loads(path.read_text())  # whole, whatever the moment
        code, said = trainings.run(trainings.train, folder, "v1")
        assert code == 0, f"killed at write {moment}: {said}"
        assert trainings.run(trainings.sample, folder, "v1")[0] == 0
        assert trainings.result(folder, "v1") == expected, f"killed at write {moment}"
        assert trainings.litter(folder) == [], f"killed at write {moment}"


def until(condition: Any, process: Any, folder: Path) -> None:
    deadline = time.monotonic() + trainings.DEADLINE_S
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline, trainings.said(folder)
        time.sleep(0.02)


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("build/wip/*/checkpoints/*.json"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_stopped_training_saves_a_checkpoint_and_a_second_trainer_is_refused(
    number: int, code: int, tmp_path: Path
) -> None:
    """Faults 4 and 5. Another experiment with the same version is not refused."""
    folder = trainings.workspace(tmp_path / "work", kimg=800, ticks=1000)
    first = trainings.begin(trainings.train, folder, "v1")
    try:
        until(lambda: checkpoints(folder), first, folder)
        refused, said = trainings.run(trainings.train, *second(folder))
        assert refused == 2 and f"is being trained by process {first.pid}" in said and said.count("\n") == 1
        other = trainings.workspace(tmp_path / "other", kimg=0.016, ticks=1)
        (other / "build" / "wip").symlink_to(folder / "build" / "wip")
        done, said = trainings.run(trainings.train, other, "v1")
        assert done == 0, said
        assert "starts afresh; kimg, ticks changed since it was interrupted" in said, "fault 20"
        assert checkpoints(folder), "the other experiment's work is left alone"
        os.kill(first.pid, number)
        first.join(trainings.DEADLINE_S)
        assert first.exitcode == code, trainings.said(folder)
    finally:
        first.kill()
        first.join()
    assert "the next `dvc repro` resumes it" in trainings.said(folder)
    [run] = folder.glob("build/wip/*/train/run.json")
    record = json.loads(run.read_text())
    assert record["status"] == "interrupted" and f"of {100_000}" in record["reason"]
    newest = json.loads(max(checkpoints(folder)).read_text())
    assert record["reason"].startswith(f"stopped at step {newest['step']} "), "it checkpointed the step it finished"


def second(folder: Path) -> tuple[Path, str]:
    """The same workspace under another name, for a separate log."""
    alias = folder.with_name(f"{folder.name}-again")
    alias.symlink_to(folder)
    return alias, "v1"


def test_a_trainer_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Fault 3, without DVC: a stage ends when its parent is killed."""
    folder = trainings.workspace(tmp_path / "work", kimg=800, ticks=1000)
    starter = trainings.begin(trainings.start_and_wait, folder, "v1")
    trainer = None
    try:
        until(lambda: checkpoints(folder), starter, folder)
        trainer = int(next(folder.glob("build/wip/*/holder")).read_text())
        starter.kill()
        starter.join()
        deadline = time.monotonic() + 60
        while trainings.alive(trainer):
            assert time.monotonic() < deadline, "the trainer outlived its starter"
            time.sleep(0.05)
    finally:
        starter.kill()
        if trainer is not None and trainings.alive(trainer):
            os.kill(trainer, signal.SIGKILL)
    [run] = folder.glob("build/wip/*/train/run.json")
    assert json.loads(run.read_text())["status"] == "interrupted", "it had the time to checkpoint"
