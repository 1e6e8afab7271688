"""How long runs take: from measured steps to a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganealogy.params.schema import Train
from ganealogy.record_types import VersionPlan
from ganealogy.runs import times
from ganealogy.runs.times import Measured, Seconds

PROTOCOL = {"kimg": 10.0, "batch_size": 32, "ticks": 5, "image_size": 16}
PLAN: VersionPlan = {"recipe": {"a": 1}, "protocol": PROTOCOL, "code": {"m": "1"}}  # type: ignore[typeddict-item]
TRAIN = Train(kimg=10, batch_size=32, lr=2e-4)
MEASURED = Measured(Seconds(0.5, 0.6), Seconds(0.01, 0.02), Seconds(0.1, 0.1), 200_000_000)


def test_a_training_is_its_start_its_steps_and_its_ticks() -> None:
    taken = MEASURED.training(PROTOCOL)  # type: ignore[arg-type]
    assert taken.cpu == pytest.approx(0.5 + 313 * 0.01 + 6 * 0.1)
    assert taken.wall == pytest.approx(0.6 + 313 * 0.02 + 6 * 0.1)
    assert MEASURED.pace == pytest.approx(2)


def test_a_measurement_is_kept_for_its_recipe_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GANEALOGY_THREADS")
    key = times.recipe_key(PLAN, TRAIN)
    assert times.read_recipe(key) is None
    times.keep(key, MEASURED)
    assert times.read_recipe(key) == MEASURED
    longer = {**PLAN, "protocol": {**PROTOCOL, "kimg": 99.0, "ticks": 2}}
    assert times.recipe_key(longer, TRAIN) == key, "another budget needs no new measurement"  # type: ignore[arg-type]
    wider = {**PLAN, "protocol": {**PROTOCOL, "width": 64}}
    assert times.recipe_key(wider, TRAIN) != key  # type: ignore[arg-type]
    assert times.recipe_key(PLAN, TRAIN.model_copy(update={"threads": 2})) != key
    times.keep("s" * 40, Seconds(1.0, 2.0))
    assert times.read_stage("s" * 40) == Seconds(1.0, 2.0)
    (tmp_path / "build/times" / f"{key[:20]}.json").write_text("damaged")
    assert times.read_recipe(key) is None, "it is measured again"


def test_runs_beside_each_other_end_with_the_last() -> None:
    assert times.makespan([3, 3, 3], 1) == 9
    assert times.makespan([3, 3, 3], 2) == 6
    assert times.makespan([1, 5, 1, 1], 2) == 5
    assert times.makespan([], 4) == 0


def test_the_sentence_says_number_wall_time_and_cost() -> None:
    runs = [Seconds(9, 10)] * 40
    assert times.sentence(runs, 2) == "40 runs, 2 at a time: about 3 min 20 s (6 min 00 s of processor time)"
    assert times.sentence(runs[:1], 8) == "1 run, 1 at a time: about 10 s (9 s of processor time)"
    assert times.sentence([Seconds(0, 3600)] * 4, 2, gpus=2) == "4 runs, 2 at a time: about 2 h 00 min (4 GPU-hours)"
