"""Versions that start with the networks of another training."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_loop, trainings

from ganealogy import one_training
from ganealogy.errors import GanealogyError
from ganealogy.lineage import tables
from ganealogy.runs import gc
from ganealogy.stages import plan
from ganealogy.training.start import Start
from ganealogy.training.state import TrainingState
from ganealogy.workspace import run_dir

pytestmark = pytest.mark.timeout(1200)

FORK = """\
title: A fork
idea: Start from v1.
source: This test
parent: {parent}
changes: {changes}
train: {{from: {start}}}
"""
SCORE = "fd_layout_edges_32_64"
START = "{version: v1, kimg: 0.096}"


def forked(folder: Path, start: str = START, changes: str = "{}", parent: str = "v1", name: str = "fork") -> Path:
    """Add a version to a workspace."""
    if not (folder / "versions").is_dir():
        shutil.copytree(trainings.ROOT / "versions", folder / "versions")
    text = FORK.format(start=start, changes=changes, parent=parent)
    (folder / f"versions/{name}.yaml").write_text(text)
    return folder


def planned(
    folder: Path, versions: str = "fork", seeds: str = "0", budget: str = "kimg: 0.064", ticks: int = 2
) -> Path:
    path = folder / "params.yaml"
    text = re.sub(r"tree: .*", f"tree: {{versions: [{versions}], seeds: [{seeds}]}}", path.read_text())
    path.write_text(re.sub(r"ticks: \d+", f"ticks: {ticks}", re.sub(r"(kimg|epochs): [\d.]+", budget, text, count=1)))
    plan.write(plan.make(path, folder / "versions"), folder / "build/plan")
    return folder


def train(folder: Path, version: str = "fork", **options: int) -> str:
    code, said = trainings.run(trainings.train, folder, version, **options)
    assert code == (-9 if options else 0), said
    return said


def lines(folder: Path, version: str, seed: int = 0) -> list[dict[str, Any]]:
    path = run_dir(version, seed, folder).folders["train"] / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return trainings.workspace(tmp_path / "work")


def test_a_fork_trains_its_source_first_and_starts_where_that_ended(workspace: Path, tmp_path: Path) -> None:
    said = train(planned(forked(workspace)))
    assert "ganealogy: fork seed 0 starts from v1 seed 0 at 0.096 kimg, which is trained first\n" in said
    run = json.loads((run_dir("fork", 0, workspace).folders["train"] / "run.json").read_text())
    assert {key: run["from"][key] for key in ("version", "seed", "kimg")} == {"version": "v1", "seed": 0, "kimg": 0.096}
    assert (run["steps"], [line["kimg"] for line in lines(workspace, "fork")]) == (8, [0, 0.032, 0.064])
    planned(workspace, "v1", budget="kimg: 0.096", ticks=3)
    assert "ganealogy: v1" not in train(workspace, "v1"), "what it started from is the run of v1, in the store"
    of_source = json.loads((run_dir("v1", 0, workspace).folders["train"] / "run.json").read_text())
    assert of_source["key"] == run["from"]["key"] and "from" not in of_source
    assert lines(workspace, "fork")[0][SCORE] == lines(workspace, "v1")[-1][SCORE]
    assert trainings.litter(workspace) == []
    again = forked(trainings.workspace(tmp_path / "again"))
    train(planned(again))
    assert trainings.result(again, "fork") == trainings.result(workspace, "fork"), "it repeats"


def test_a_source_in_the_store_is_not_trained_again_and_a_damaged_one_is(workspace: Path, tmp_path: Path) -> None:
    forked(workspace)
    train(planned(workspace, "v1", budget="kimg: 0.096", ticks=3), "v1")
    assert "trained first" not in train(planned(workspace))
    first = trainings.result(workspace, "fork")
    shutil.rmtree(workspace / "build/runs")
    for entry in (workspace / "build/store/train").iterdir():
        if json.loads((entry / "entry.json").read_text())["run"] == "fork-0":
            shutil.rmtree(entry)
        else:
            (next(entry.glob("state/*.safetensors"))).write_bytes(b"damaged")
    assert "which is trained first" in train(workspace)
    assert trainings.result(workspace, "fork") == first


def test_each_seed_starts_from_the_same_seed_or_all_from_one(workspace: Path) -> None:
    forked(workspace, name="each")
    forked(workspace, "{version: v1, seed: 1, kimg: 0.096}", name="one")
    planned(workspace, "each, one", "0, 1")
    for version, seeds in (("each", [0, 1]), ("one", [1, 1])):
        plans = json.loads((workspace / f"build/plan/versions/{version}.json").read_text())
        code, said = trainings.run(trainings.verb, workspace, "train", version)
        assert code == 0, said
        runs = [
            json.loads((run_dir(version, seed, workspace).folders["train"] / "run.json").read_text()) for seed in (0, 1)
        ]
        assert [run["from"]["seed"] for run in runs] == seeds
        assert [lines(workspace, version, seed)[0][SCORE] for seed in (0, 1)] == [
            lines(workspace, "each", seed)[0][SCORE] for seed in seeds
        ]
        assert set(gc._sources(plans, trainings.data(workspace), 0)) == {runs[0]["from"]["key"]}


def test_two_ranks_find_the_source_trained(workspace: Path) -> None:
    planned(forked(workspace))
    code, said = trainings.run(trainings.verb, workspace, "train", "fork", "--ranks", "2")
    assert code == 0, said
    train(planned(workspace, "v1", budget="kimg: 0.096", ticks=3), "v1")
    assert lines(workspace, "fork")[0][SCORE] == pytest.approx(lines(workspace, "v1")[-1][SCORE], rel=1e-6)


@pytest.mark.parametrize("step", [4, 10])
def test_a_kill_in_the_source_or_in_the_fork_changes_no_byte(workspace: Path, tmp_path: Path, step: int) -> None:
    """The source has twelve steps; the steps of the fork count from one, so the kill at ten is in the source, too."""
    planned(forked(workspace))
    train(workspace, kill_at_step=step)
    train(workspace)
    whole = planned(forked(trainings.workspace(tmp_path / "whole")))
    train(whole)
    assert trainings.result(workspace, "fork") == trainings.result(whole, "fork")
    assert trainings.litter(workspace) == []


def test_a_killed_fork_resumes(workspace: Path, tmp_path: Path) -> None:
    forked(workspace, changes="{ema: {half_life_kimg: 0.05, ramp: null}}")
    train(planned(workspace, "v1", budget="kimg: 0.096", ticks=3), "v1")
    planned(workspace)
    train(workspace, kill_at_step=6)
    train(workspace)
    assert json.loads(run_dir("fork", 0, workspace).costs["train"].read_text())["resumed"] == 1
    whole = forked(trainings.workspace(tmp_path / "whole"), changes="{ema: {half_life_kimg: 0.05, ramp: null}}")
    train(planned(whole))
    assert trainings.result(workspace, "fork") == trainings.result(whole, "fork")


def test_a_fork_continues_with_a_larger_budget(workspace: Path, tmp_path: Path) -> None:
    train(planned(forked(workspace)))
    said = train(planned(workspace, budget="kimg: 0.128", ticks=4))
    assert "fork seed 0 continues from the 0.064 kimg that are there" in said and "trained first" not in said
    whole = planned(forked(trainings.workspace(tmp_path / "whole")), budget="kimg: 0.128", ticks=4)
    train(whole)
    assert trainings.result(workspace, "fork") == trainings.result(whole, "fork")


def test_a_fork_of_a_fork(workspace: Path) -> None:
    forked(workspace, name="first")
    said = train(planned(forked(workspace, "{version: first, kimg: 0.032}")))
    assert said.index("fork seed 0 starts from first seed 0") < said.index("first seed 0 starts from v1 seed 0")
    tree = json.loads((workspace / "build/plan/tree.json").read_text())
    [fork] = [version for version in tree["versions"] if version["name"] == "fork"]
    assert (fork["from"]["version"], fork["from"]["kimg"]) == ("first", 0.032)
    assert fork["from"]["flops"] == pytest.approx(fork["flops"] * 128)
    plans = json.loads((workspace / "build/plan/versions/fork.json").read_text())
    assert len(set(gc._sources(plans, trainings.data(workspace), 0))) == 2


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        ("{version: fork, kimg: 1}", "{}", "train.from.version = 'fork': it starts from itself; name another version"),
        ("{version: v99, kimg: 1}", "{}", "train.from.version: unknown version 'v99'; known: "),
        ("{version: v1}", "{}", "train.from.kimg is missing"),
        ("{version: v1, kimg: 0}", "{}", "train.from.kimg = 0: input should be greater than 0"),
        ("{version: v1, kimg: 1, seed: other}", "{}", "train.from.seed"),
        ("{version: v1, kimg: 1, epochs: 2}", "{}", "unknown key 'train.from.epochs'; known here: kimg, seed, version"),
        ("v1", "{}", "train.from = 'v1'"),
        (
            "{version: v1, kimg: 1}",
            "{discriminator: {norm: none}}",
            r"train.from: .+ of the discriminator is .+ in v1 and absent here: start from .+ the same networks",
        ),
        (
            "{version: flow, kimg: 1}",
            "{}",
            r"train.from: .+ of the generator is .+ in flow and absent here: start from",
        ),
        ("{version: v14, kimg: 1}", "{}", r"train.from: sngan: no feature map for attention"),
    ],
)
def test_what_cannot_be_a_start_is_one_line(workspace: Path, start: str, changes: str, message: str) -> None:
    with pytest.raises(GanealogyError) as caught:
        planned(forked(workspace, start, changes))
    said = str(caught.value)
    assert "versions/fork.yaml: " in said and "\n" not in said
    assert re.search(message, said) if "sngan" in message or ".+" in message else message in said, said


def test_a_circle_of_forks_is_one_line(workspace: Path) -> None:
    forked(workspace, "{version: fork, kimg: 1}", name="other")
    with pytest.raises(
        GanealogyError, match=r"other\.yaml: train\.from\.version = 'fork': it starts from itself through other"
    ):
        planned(forked(workspace, "{version: other, kimg: 1}"))


def test_another_key_of_train_is_refused(workspace: Path) -> None:
    forked(workspace)
    path = workspace / "versions/fork.yaml"
    path.write_text(path.read_text().replace("train: {from:", "train: {lr: 0.1, from:"))
    with pytest.raises(GanealogyError, match=r"train\.lr"):
        planned(workspace)


def test_the_fingerprint_of_a_fork_covers_its_source(workspace: Path) -> None:
    def fingerprint(start: str = START) -> str:
        planned(forked(workspace, start), "v1, fork")
        return str(json.loads((workspace / "build/plan/versions/fork.json").read_text())["fingerprint"])

    usual = fingerprint()
    assert fingerprint("{version: v1, seed: same, kimg: 0.096}") == usual, "the default"
    others = {fingerprint("{version: v1, kimg: 0.064}"), fingerprint("{version: v1, seed: 0, kimg: 0.096}")}
    path = workspace / "versions/v1.yaml"
    path.write_text(path.read_text().replace("real_target: 1.0", "real_target: 0.9"))
    assert len({usual, *others, fingerprint()}) == 4


def test_the_plan_shows_the_start(workspace: Path) -> None:
    tree = plan.make(planned(forked(workspace), "v1, fork") / "params.yaml", workspace / "versions")["tree.json"]
    rows = tables.table(tree).rows  # type: ignore[arg-type]
    assert [row[2] for row in rows] == ["a root: the complete recipe", "starts from v1 at 0.096 kimg"]


def test_ticks_of_the_source_are_in_proportion(workspace: Path) -> None:
    planned(forked(workspace), budget="kimg: 0.192", ticks=6)
    plans = json.loads((workspace / "build/plan/versions/fork.json").read_text())
    source = plans["from"]["plan"]["protocol"]
    assert (source["kimg"], source["ticks"]) == (0.096, 3)
    planned(workspace, budget="epochs: 2", ticks=6)
    source = json.loads((workspace / "build/plan/versions/fork.json").read_text())["from"]["plan"]["protocol"]
    assert (source["kimg"], source["ticks"]) == (0.096, 6) and "epochs" not in source


def state(version: str) -> TrainingState:
    planned = tiny_loop.plan(version)
    state = TrainingState(planned["recipe"], planned["protocol"], 24, "cpu")  # type: ignore[arg-type]
    for _ in range(3):
        state.train_step(lambda index: torch.rand(8, 3, 16, 16) * 2 - 1, None)
    return state


def test_networks_and_moments_are_taken_and_all_else_begins_anew() -> None:
    before, after = state("v12"), state("v12")
    after.start_from(Start({name: tensor.clone() for name, tensor in before.tensors().items()}, 0.5, {"generator"}))
    there, here = before.tensors(), after.tensors()
    equal = {name.split("/")[0] for name in there if torch.equal(there[name], here[name])}
    differing = {name.split("/")[0] for name in there if not torch.equal(there[name], here[name])}
    assert {"generator", "discriminator", "ema", "g_optimizer"} <= equal
    assert differing == {"d_optimizer", "sums"}, "of another kind of optimizer, say"
    assert after.ema_kimg == 0.5 and after.progress.step == 3


def test_without_an_ema_before_it_begins_with_the_generator() -> None:
    before, after = state("v1"), state("v12")
    tensors = {name: tensor for name, tensor in before.tensors().items() if not name.startswith("discriminator")}
    own = {f"discriminator/{name}": value for name, value in after.discriminator.state_dict().items()}
    fits = {name: value.shape for name, value in before.generator.state_dict().items()}
    if fits != {name: value.shape for name, value in after.generator.state_dict().items()}:
        pytest.skip("v1 and v12 have other generators")
    after.start_from(Start({**tensors, **own}, 0.5, set()))
    assert after.ema is not None and after.ema_kimg == 0
    for one, other in zip(after.ema.generator.parameters(), before.generator.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_python_api_refuses_a_fork(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(forked(workspace))
    with pytest.raises(GanealogyError, match="fork starts from a training of v1, which a store has"):
        one_training.train(
            "fork",
            np.zeros((64, 16, 16, 3), np.uint8),
            workspace / "out",
            0,
            "cpu",
            {"kimg": 1, "batch_size": 8, "lr": 2e-4},
        )
