"""Which versions depend on the training's budget: read from the recipe and the source, and seen in their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_loop import plan

from ganealogy.lineage.budget_keys import GAMES, budget_keys, uses_progress
from ganealogy.lineage.versions import known
from ganealogy.training.loop import seed_everything, step_seed
from ganealogy.training.state import TrainingState

STEPS, BUDGETS = 6, (8, 4000)
"""The steps that are compared, and budgets with and without LeCam's start in them."""
SIZES = {"mnist-mlp": (28, 1), "mnist-dcgan": (28, 1), "conditional": (32, 1)}


def weights_after_some_steps(planned: Any, budget: int) -> dict[str, torch.Tensor]:
    seed_everything(7)
    state = TrainingState(planned["recipe"], planned["protocol"], budget, "cpu")
    state.game.batches_per_epoch = 2
    protocol = planned["protocol"]
    shape = (protocol["batch_size"], protocol["channels"], protocol["image_size"], protocol["image_size"])
    for step in range(STEPS):
        seed_everything(step_seed(7, step))
        pictures = [torch.rand(shape) * 2 - 1 for _ in range(8)]
        classes = torch.arange(len(pictures[0])) % 10
        labels = (lambda index: classes) if planned["recipe"]["labels"] else None  # noqa: B023
        state.train_step(pictures.__getitem__, labels)
    return {name: tensor.clone() for name, tensor in state.tensors().items()}


@pytest.mark.parametrize("version", known())
def test_a_version_depends_on_the_budget_exactly_if_its_first_steps_do(version: str) -> None:
    size, channels = SIZES.get(version, (32, 3))
    planned = plan(version, image_size=size, channels=channels, classes=10)
    short, long = (weights_after_some_steps(planned, budget) for budget in BUDGETS)
    assert short.keys() == long.keys()
    assert all(torch.equal(short[name], long[name]) for name in short) == (not budget_keys(planned["recipe"]))


def test_both_kinds_of_versions_are_there() -> None:
    found = {version: budget_keys(plan(version)["recipe"]) for version in ("v1", "v12", "ada", "lecam", "v16")}
    assert found["v1"] == found["v12"] == []
    assert found["ada"] == ["adversary.augment.ada"] and found["lecam"] == ["adversary.penalties.lecam"]
    assert {"optimizers.generator.schedule", "optimizers.generator.betas", "ema.half_life_share"} <= {*found["v16"]}


def test_a_constant_in_place_of_a_schedule_depends_on_nothing() -> None:
    def keys(deviation: Any) -> list[str]:
        changes = {"adversary": {"augment": [{"name": "instance_noise", "deviation": deviation}]}}
        return budget_keys(plan("v1", changes)["recipe"])

    assert keys(0.1) == []
    assert keys({"from": 0.1, "to": 0.0}) == ["adversary.augment.instance_noise.deviation"]


PENALTY = """
import torch
from ganealogy.adversary.penalties._base import DiscriminatorStep, Penalty
from ganealogy.adversary.schedule import Scheduled, scheduled_value


class Mine(Penalty):
    def __init__(self, *, weight: Scheduled = {default}) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        {body}


penalty = Mine
"""
AUGMENT = """
import torch
from ganealogy.adversary.augment._base import Augmentation


class Mine(Augmentation):
    def __init__(self) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor, {argument}) -> torch.Tensor:
        return {value}


augment = Mine
"""


def penalty(body: str, default: str = "1.0") -> tuple[str, str]:
    return "penalties", PENALTY.format(body=body, default=default)


def augment(argument: str, value: str) -> tuple[str, str]:
    return "augment", AUGMENT.format(argument=argument, value=value)


@pytest.mark.parametrize(
    ("component", "depends"),
    {
        "without progress": (penalty("return step.real_logits.mean()"), False),
        "a schedule": (penalty("return scheduled_value(self.weight, step.progress) * step.real_logits.mean()"), False),
        "a schedule by default": (
            penalty("return scheduled_value(self.weight, step.progress)", '{"from": 1.0, "to": 0.0}'),
            False,  # the recipe has it
        ),
        "a comparison": (penalty("return step.real_logits.mean() * (step.progress > 0.5)"), True),
        "another name": (penalty("now = step.progress; return step.real_logits.mean() * now"), True),
        "arithmetic": (penalty("return scheduled_value(self.weight, 1 - step.progress)"), True),
        "a schedule in the code": (penalty('return scheduled_value({"from": 1, "to": 0}, step.progress)'), True),
        "by its name": (penalty('return getattr(step, "progress") * step.real_logits.mean()'), True),
        "an unused argument": (augment("progress", "images"), False),
        "an argument": (augment("progress", "images * progress"), True),
        "an argument of another name": (augment("fraction", "images * fraction"), True),
        "all arguments": (augment("*more", "images * more[0]"), True),
    }.values(),
    ids=lambda value: None,
)
def test_a_new_component_is_read_without_a_declaration(
    component: tuple[str, str], depends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, source = component
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "components" / "adversary" / kind / "mine.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert uses_progress(f"adversary.{kind}", "mine") == depends


def test_the_progress_in_a_module_beside_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "components/adversary/penalties"
    folder.mkdir(parents=True)
    (folder / "_shared.py").write_text("def weight(step):\n    return step.progress\n")
    call = "from ganealogy.adversary.penalties._shared import weight\n"
    (folder / "mine.py").write_text(call + penalty("return weight(step) * step.real_logits.mean()")[1])
    assert uses_progress("adversary.penalties", "mine")


def test_a_new_game_depends_on_the_budget() -> None:
    recipe = plan("v1")["recipe"]
    assert recipe["adversary"]["game"]["name"] in GAMES
    recipe["adversary"]["game"] = {"name": "mine"}
    assert budget_keys(recipe) == ["adversary.game.mine"]
