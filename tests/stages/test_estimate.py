"""The time of a training, measured before it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import trainings

from ganealogy.params import schema
from ganealogy.record_types import VersionPlan
from ganealogy.runs import times
from ganealogy.runs.times import Seconds
from ganealogy.stages import _estimate, _side_by_side, plan
from ganealogy.stages._jobs import Job
from ganealogy.workspace import plan_path, run_dir

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return trainings.workspace(tmp_path / "my work", kimg=4.8, ticks=3)


def train(folder: Path, **more: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(trainings.ROOT / "src"), **more}
    command = [sys.executable, "-m", "ganealogy", "train", "v1"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_time_is_told_before_a_long_training_and_kept(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = train(workspace).splitlines()
    assert said[0] == "ganealogy: measuring 1 recipe to estimate the time"
    assert said[1].startswith("ganealogy: 1 run, 1 at a time: about ") and said[1].endswith("of processor time)")
    monkeypatch.chdir(workspace)
    plan: VersionPlan = json.loads(plan_path("v1").read_text())
    measured = times.read_recipe(times.recipe_key(plan, schema.load().train))
    assert measured is not None and measured.memory > 50_000_000
    taken = json.loads(run_dir("v1", 0).costs["train"].read_text())["cpu_seconds"]
    expected = measured.training(plan["protocol"]).cpu - measured.start.cpu
    assert expected == pytest.approx(taken, rel=0.5), "within 10 % on a calm machine: see benchmarks/side_by_side.py"
    said_again = train(workspace)
    assert "measuring" not in said_again and "about" not in said_again, "nothing is left to do"
    assert _estimate.missing([Job("v1", 0)], schema.load()) == []


def test_the_first_training_of_a_tree_tells_the_time_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc repro` trains one version after another: an hour of the first says nothing about the day of all."""
    folder = trainings.workspace(tmp_path / "my work", kimg=4.8, ticks=3)
    params = (folder / "params.yaml").read_text().replace("versions: [v1]", "versions: [v1, v3, v7]")
    (folder / "params.yaml").write_text(params)
    plan.write(plan.make(folder / "params.yaml", trainings.ROOT / "versions"), folder / "build/plan")
    said = train(folder).splitlines()
    assert said[0] == "ganealogy: measuring 3 recipes to estimate the time"
    assert said[1].startswith("ganealogy: 1 run, 1 at a time: about ")
    assert said[2].startswith("ganealogy: with the trainings of the other versions: 3 runs, ")
    monkeypatch.chdir(folder)
    settings = schema.load()
    assert len(_side_by_side.other_trainings([Job("v3", 0, ("train",))], settings)) == 1, "v1 is done, v7 is not"
    assert _side_by_side.other_trainings([Job("v3", 0)], settings) == [], (
        "the time of all stages is in its own sentence"
    )
    plan_path("v7").unlink()
    assert _side_by_side.other_trainings([Job("v3", 0, ("train",))], settings) == []


def test_a_short_training_is_not_measured(tmp_path: Path) -> None:
    folder = trainings.workspace(tmp_path / "short", kimg=0.032, ticks=1)
    assert "measuring" not in train(folder)
    assert not (folder / "build/times").exists()


def test_a_measurement_leaves_the_training_as_it_is(workspace: Path, tmp_path: Path) -> None:
    """The same bytes as without one."""
    train(workspace)
    other = trainings.workspace(tmp_path / "other", kimg=4.8, ticks=3)
    train(other, GANEALOGY_JOBS="0")
    assert trainings.result(workspace, "v1") == trainings.result(other, "v1")


def test_the_plan_tells_what_is_known(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    settings = schema.load()
    assert _side_by_side.times_of_plan(settings) == ({}, "")
    plan: VersionPlan = json.loads(plan_path("v1").read_text())
    one = times.Seconds(1.0, 1.0)
    times.keep(times.recipe_key(plan, settings.train), times.Measured(one, times.Seconds(0.1, 0.1), one, 10**8))
    for stage in _estimate.MEASURING:
        stage_plan = json.loads(Path(f"build/plan/stages/{stage}.json").read_text())
        protocol = {**settings.dataset.model_dump(), **settings.train.model_dump()}
        times.keep(times.stage_key(stage, stage_plan, protocol, settings.train), one)  # type: ignore[arg-type]
    # 600 steps, four ticks, the start, sampling and evaluating
    known, sentence = _side_by_side.times_of_plan(settings)
    assert known == {"v1": "1 min 07 s"}
    assert sentence == "1 run, 1 at a time: about 1 min 07 s (1 min 07 s of processor time)"


@pytest.mark.parametrize(
    ("gpus", "cores", "memory", "expected"),
    [([], 8, 64e9, 8), ([], 8, 1.2e9, 2), ([], 8, 1e6, 1), (["0", "1"], 4, 64e9, 6)],
)
def test_as_many_runs_at_a_time_as_the_machine_holds(
    monkeypatch: pytest.MonkeyPatch, gpus: list[str], cores: int, memory: float, expected: int
) -> None:
    monkeypatch.setattr(_side_by_side.machine, "gpus", lambda: gpus)
    monkeypatch.setattr(_side_by_side.machine, "cores", lambda: cores)
    monkeypatch.setattr(_side_by_side.machine, "free_memory", lambda: int(memory))
    train = schema.Train(kimg=1, batch_size=8, lr=2e-4, runs_per_gpu=3)
    slots = _side_by_side.slots(train)
    assert len(slots) == expected
    if gpus:
        assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1", "0", "1", "0", "1"]
    monkeypatch.setenv("GANEALOGY_JOBS", "1")
    assert len(_side_by_side.slots(train)) == 1
    monkeypatch.delenv("GANEALOGY_JOBS")
    assert len(_side_by_side.slots(train, limit=1)) == 1
    assert len(_side_by_side.slots(train.model_copy(update={"device": "cpu"}))) == (cores if gpus else expected), (
        "train.device: cpu uses no GPU"
    )


def test_on_a_gpu_a_step_takes_as_long_as_the_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is ahead by all steps since the last wait: here it takes 1 ms per step, and the GPU 20 ms."""
    now, behind = 0.0, 0

    def synchronize() -> None:
        nonlocal now, behind
        now, behind = now + 0.019 * behind, 0

    monkeypatch.setattr(_estimate, "_now", lambda: Seconds(now, now))
    clock = _estimate._Clock(synchronize)
    clock.on_start(0, times.STEPS)
    for step in range(1, times.STEPS + 1):
        now, behind = now + 0.001, behind + 1
        clock.on_step(step, None)
    synchronize()
    measured = clock.measured(Seconds(now + 0.5, now + 0.5))
    assert measured.step.wall == pytest.approx(0.02) and measured.tick.wall == pytest.approx(0.5)
