"""A larger budget continues from the store, in the bytes of a training that had it from the start."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers import trainings

from ganealogy.params import schema
from ganealogy.runs import times
from ganealogy.stages import _estimate, plan
from ganealogy.stages._jobs import Job
from ganealogy.workspace import plan_path, run_dir

pytestmark = pytest.mark.timeout(1200)


def budget(folder: Path, text: str, ticks: int) -> Path:
    """Plan another budget, such as `kimg: 0.192`, in a workspace."""
    path = folder / "params.yaml"
    params = re.sub(r"(kimg|epochs): [\d.]+", text, path.read_text())
    path.write_text(re.sub(r"ticks: \d+", f"ticks: {ticks}", params))
    plan.write(plan.make(path, trainings.ROOT / "versions"), folder / "build" / "plan")
    return folder


def train(folder: Path, version: str = "v1", **options: int) -> str:
    """Return what the train stage printed."""
    code, said = trainings.run(trainings.train, folder, version, **options)
    assert code == (-9 if options else 0), said
    return said


def trained_twice(
    tmp_path: Path, version: str, longer: tuple[str, int], shorter: tuple[str, int] = ("kimg: 0.096", 3)
) -> tuple[Path, str]:
    """Return a workspace with the longer training after the shorter one, and what the longer one printed.

    It has the same files as one from the start.
    """
    folder = budget(trainings.workspace(tmp_path / "twice", version), *shorter)
    assert "starts anew" not in train(folder, version)
    said = train(budget(folder, *longer), version)
    whole = budget(trainings.workspace(tmp_path / "whole", version), *longer)
    assert "starts anew" not in train(whole, version)
    assert trainings.result(folder, version) == trainings.result(whole, version)
    assert trainings.litter(folder) == []
    return folder, said


@pytest.mark.parametrize("version", ["v1", "v12", "v24", "epochwise", "stylegan2"])
def test_a_larger_budget_continues_and_ends_in_the_same_bytes(tmp_path: Path, version: str) -> None:
    """v1 has Adam alone, v12 and v24 an EMA, stylegan2 lazy penalties."""
    folder, said = trained_twice(tmp_path, version, ("kimg: 0.192", 6))
    assert f"ganealogy: {version} seed 0 continues from the 0.096 kimg that are there\n" in said
    run = run_dir(version, 0, folder)
    cost = json.loads(run.costs["train"].read_text())
    assert cost["resumed"] == 1 and len(cost["tick_seconds"]) == 7
    assert 0 < cost["tick_seconds"][3] < cost["tick_seconds"][6] <= cost["seconds"], "both parts are counted"
    names = {path.relative_to(run.folders["train"]).parts[0] for path in run.folders["train"].rglob("*")}
    assert names == {"run.json", "metrics.jsonl", "grids", "weights"}


@pytest.mark.parametrize(
    ("version", "key"),
    [
        ("instance-noise", "adversary.augment.instance_noise.deviation depends"),
        ("ada", "adversary.augment.ada depends"),
    ],
)
def test_what_depends_on_the_budget_starts_anew_and_says_so(tmp_path: Path, version: str, key: str) -> None:
    _, said = trained_twice(tmp_path, version, ("kimg: 0.192", 6))
    line = f"{version} seed 0: starts anew, not from the 0.096 kimg that are there: {key} on the budget"
    assert f"ganealogy: {line}\n" in said


def test_ticks_that_do_not_agree_start_anew_and_the_message_names_those_that_do(tmp_path: Path) -> None:
    folder, said = trained_twice(tmp_path, "v1", ("kimg: 0.192", 3))
    assert "ganealogy: v1 seed 0: starts anew; train.ticks: 6 would continue the 0.096 kimg that are there\n" in said
    shutil.rmtree(folder / "build/store")
    train(budget(folder, "kimg: 0.096", 3))
    assert "continues from the 0.096 kimg" in train(budget(folder, "kimg: 0.192", 6)), "as the message says"


def test_a_budget_that_no_ticks_divide_has_a_remedy_too(tmp_path: Path) -> None:
    """Twelve steps have ticks at 4, 8 and 12; eighteen steps have none of their own there."""
    folder, said = trained_twice(tmp_path, "v1", ("kimg: 0.144", 3))
    remedy = "train.kimg: 0.192 and train.ticks: 6 would continue the 0.096 kimg that are there"
    assert remedy in said
    shutil.rmtree(folder / "build/store")
    train(budget(folder, "kimg: 0.096", 3))
    assert "continues from the 0.096 kimg" in train(budget(folder, "kimg: 0.192", 6)), "as the message says"


def test_a_budget_in_epochs_continues(tmp_path: Path) -> None:
    _, said = trained_twice(tmp_path, "v1", ("epochs: 2", 4), shorter=("epochs: 1", 2))
    assert "continues from the 0.16 kimg that are there" in said


def test_kimg_continue_epochs(tmp_path: Path) -> None:
    _, said = trained_twice(tmp_path, "v1", ("kimg: 0.32", 4), shorter=("epochs: 1", 2))
    assert "continues from the 0.16 kimg that are there" in said


def test_a_damaged_state_is_not_continued(tmp_path: Path) -> None:
    folder = trainings.workspace(tmp_path / "damaged")
    train(folder)
    [state] = (folder / "build/store/train").glob("*/state/*.safetensors")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.unlink()
    state.write_bytes(content)
    said = train(budget(folder, "kimg: 0.192", 6))
    assert f"{state}: absent or damaged" in said
    assert "v1 seed 0: starts anew: the 0.096 kimg that were there are damaged\n" in said
    whole = trainings.workspace(tmp_path / "whole", kimg=0.192, ticks=6)
    train(whole)
    assert trainings.result(folder, "v1") == trainings.result(whole, "v1")


def test_the_longest_that_agrees_is_continued_and_a_lower_budget_is_trained(tmp_path: Path) -> None:
    folder = trainings.workspace(tmp_path / "some", kimg=0.096, ticks=3)
    train(folder)
    said = train(budget(folder, "kimg: 0.064", 2))
    assert "continues" not in said and "starts anew" not in said, "there is none that is shorter"
    train(budget(folder, "kimg: 0.128", 3))  # its ticks are others
    said = train(budget(folder, "kimg: 0.192", 6))
    assert "continues from the 0.096 kimg" in said and "starts anew" not in said
    assert "v1 seed 0" not in train(budget(folder, "kimg: 0.096", 3)), "found, not trained"


def test_only_the_same_seed_and_the_same_recipe_are_continued(tmp_path: Path) -> None:
    folder = trainings.workspace(tmp_path / "others")
    train(folder)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("lr: 0.0002", "lr: 0.0003"))
    said = train(budget(folder, "kimg: 0.192", 6))
    assert "continues" not in said and "starts anew" not in said


@pytest.mark.parametrize("write", [1, 2, 3, 4, 6])
def test_a_kill_while_it_begins_changes_no_byte(tmp_path: Path, write: int) -> None:
    folder = trainings.workspace(tmp_path / "killed")
    train(folder)
    budget(folder, "kimg: 0.192", 6)
    train(folder, kill_at_write=write)
    train(folder)
    whole = trainings.workspace(tmp_path / "whole", kimg=0.192, ticks=6)
    train(whole)
    assert trainings.result(folder, "v1") == trainings.result(whole, "v1")
    assert trainings.litter(folder) == []


def test_a_continued_training_that_is_killed_resumes_from_its_own_checkpoint(tmp_path: Path) -> None:
    folder = trainings.workspace(tmp_path / "killed")
    train(folder)
    budget(folder, "kimg: 0.192", 6)
    assert "continues from" in train(folder, kill_at_step=18)
    assert "continues from" not in train(folder)
    whole = trainings.workspace(tmp_path / "whole", kimg=0.192, ticks=6)
    train(whole)
    assert trainings.result(folder, "v1") == trainings.result(whole, "v1")
    assert json.loads(run_dir("v1", 0, folder).costs["train"].read_text())["resumed"] == 2


def test_the_estimate_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trainings.workspace(tmp_path / "estimate")
    train(folder)
    budget(folder, "kimg: 0.192", 6)
    monkeypatch.chdir(folder)
    settings = schema.load()
    job = Job("v1", 0, ("train",))
    assert _estimate.continued([job, Job("v1", 1, ("train",)), Job("v1", 0, ("sample",))], settings) == {"v1-0": 12}
    second = times.Seconds(1.0, 2.0)
    planned = json.loads(plan_path("v1").read_text())
    times.keep(times.recipe_key(planned, settings.train), times.Measured(second, second, second, 10**8))
    whole, rest = (_estimate.expected([job], settings, done=done)["v1-0"] for done in ({}, {"v1-0": 12}))
    assert (whole.cpu, rest.cpu) == (1 + 24 + 7, 1 + (24 + 7) / 2)
