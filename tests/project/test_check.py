"""`ganealogy check` finds what is wrong with own versions and components, caused for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import tiny_loop
from helpers.own_project import own_project

from ganealogy.cli.main import cli
from ganealogy.project import check, check_component
from ganealogy.project.check_training import check_training

VERSION = "title: t\nparent: v1\nidea: i\nsource: s\nchanges: {%s}\n"
LOSS = '''"""A loss."""

from __future__ import annotations

import random

import torch
from torch.nn.functional import relu


class Mine:
    needs_reals = False

    def __init__(self, *, margin: float = 1.0) -> None:
        self.margin, self.seen = margin, 0.0

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        value = relu(self.margin - real).mean() + relu(self.margin + fake).mean()
        return value

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        return -fake.mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid().mean()


loss = Mine
'''
NETWORK = '''"""A generator."""

from __future__ import annotations

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes, self.shape = 0, (channels, image_size, image_size)
        self.layer = nn.Linear(latent_size, channels * image_size**2)
        self.second = nn.Linear(latent_size, 1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        values = self.layer(latents) + self.second(latents)
        return values.tanh().unflatten(1, self.shape)


generator = Generator
'''
PLACE = {"adversary.losses": (LOSS, "adversary: {loss: mine}"), "networks": (NETWORK, "generator: mine")}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_project(tmp_path, monkeypatch):
        yield tmp_path


def add(kind: str, old: str = "", new: str = "") -> None:
    """Write a component `mine` of a kind, with one change, and a version `idea` that uses it."""
    content, changes = PLACE[kind]
    assert old in content
    path = Path("components", *kind.split("."), "mine.py")
    path.parent.mkdir(parents=True)
    path.write_text(content.replace(old, new))
    Path("versions/idea.yaml").write_text(VERSION % changes)


def run(*names: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(cli, ["check", *names], catch_exceptions=False, standalone_mode=False)
    return done.return_value, done.output.splitlines()


def test_own_versions_and_components_that_work_have_a_line_each(project: Path) -> None:
    add("adversary.losses")
    code, lines = run()
    assert code == 0 and lines[0] == "✓ adversary.losses.mine: used by idea"
    assert len(lines) == 2 and lines[1].startswith("✓ idea: 4 steps of 4 random pictures in ")
    Path("versions/idea.yaml").write_text(VERSION % "adversary: {loss: hinge}")
    assert run("mine") == (0, ["✓ adversary.losses.mine: no version uses it, so no training has tested it"])


def test_without_own_files_the_versions_of_params_yaml_are_checked(project: Path) -> None:
    code, lines = run()
    assert code == 0 and [line.split(":")[0] for line in lines] == ["✓ v1"]


@pytest.mark.parametrize(
    ("kind", "old", "new", "fault"),
    [
        (
            "adversary.losses",
            "        return value",
            "        self.seen = self.seen + 0.1\n        return value * (1 + self.seen)",
            "a training that is saved and loaded after 2 steps differs from one without interruption",
        ),
        (
            "adversary.losses",
            "        return value",
            "        return value * (1 + random.random())",
            "two trainings of one seed differ after 2 steps",
        ),
        ("adversary.losses", "        return value", "        return value * float('nan')", "check its loss"),
        (
            "adversary.losses",
            "        return value",
            "        return value / self.absent",
            "components/adversary/losses/mine.py:19: AttributeError: 'Mine' object has no attribute 'absent'",
        ),
        ("networks", " + self.second(latents)", "", "no gradient reaches G's second.weight, G's second.bias in"),
        ("networks", "self.second(latents)", "self.second(latents).detach()", "no gradient reaches G's second.weight"),
        ("networks", "values.tanh()", "(values - values.mean(0)).tanh()", "a picture of G differs by"),
        (
            "networks",
            "values.tanh()",
            "(values + 0.1 * torch.randn_like(values)).tanh()",
            "G draws another picture from the same latent",
        ),
        ("networks", "values.tanh()", "values.sigmoid()", "and black is -1 and white 1: end in Tanh"),
        ("networks", "values.tanh()", "(255 * values)", "and black is -1 and white 1: end in Tanh"),
        ("networks", "return values.tanh()", "return (0 * values).tanh()", "the same picture from different latents"),
    ],
)
def test_a_fault_of_a_training_is_found(project: Path, kind: str, old: str, new: str, fault: str) -> None:
    add(kind, old, new)
    code, lines = run("idea")
    assert code == 2 and all(line.startswith("✗ idea: ") for line in lines), lines
    assert any(fault in line for line in lines), lines


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("import random", "from . import _shared", "mine.py:5: the fingerprint does not follow relative imports"),
        ("import random", "import importlib\nimportlib.import_module('random')", "import_module() runs code that is"),
        (
            "import random",
            "from ganealogy import components\ncomponents.load('networks', 'mlp')",
            "components.load(), w",
        ),
        ("import random", "import _shared", "write `from ganealogy.adversary.losses import _shared`"),
        ("*, margin: float", "margin: float", "loss: margin: a recipe sets keyword-only parameters: write `*,` before"),
        ("margin: float = 1.0", "margin=1.0", "loss: margin has no annotation"),
        ("margin: float = 1.0", "margin: float = 1.0, **options: float", "loss: **kwargs would take a misspelt key"),
        ("loss = Mine", "lost = Mine", "no loss: end the file with `loss = YourClass`"),
        ("loss = Mine", "loss = Mine()\nloss = 3", "loss is no class or function"),
        ("loss = Mine", "loss = Mine(", "mine.py:28: not Python: "),
        ("import random", "import no_such_package", "mine.py:5: ModuleNotFoundError: No module named 'no_such"),
    ],
)
def test_a_fault_of_a_component_s_file_is_found(project: Path, old: str, new: str, fault: str) -> None:
    add("adversary.losses", old, new)
    Path("components/adversary/losses/_shared.py").write_text("")
    code, lines = run("mine")
    assert code == 2 and len(lines) == 1 and lines[0].startswith("✗ adversary.losses.mine: components/adversary"), lines
    assert fault in lines[0]


def test_a_generator_that_does_not_get_the_image_size_is_named(project: Path) -> None:
    add("networks", ", image_size: int, width: int, classes: int = 0", "")
    code, lines = run("mine")
    assert code == 2 and "add image_size, width, classes" in lines[0], lines


def test_helpers_and_misnamed_versions_are_checked_too(project: Path) -> None:
    add("adversary.losses")
    Path("components/adversary/losses/_shared.py").write_text("eval('1')\n")
    Path("versions/My Idea.yml").write_text(VERSION % "")
    code, lines = run()
    assert code == 2 and [line[:1] for line in lines] == ["✗", "✗", "✓", "✓"], lines
    assert "My Idea.yml" in lines[0] and "_shared.py:1: eval() runs code" in lines[1]


def test_a_network_s_own_eval_is_no_dynamic_code(project: Path) -> None:
    add("networks", "super().__init__()", "super().__init__()\n        self.eval()")
    assert check_component.imports(Path("components/networks/mine.py")) == []


def test_a_wrong_version_file_and_a_component_without_its_parameter_are_one_line_each(project: Path) -> None:
    add("adversary.losses")
    Path("versions/idea.yaml").write_text(VERSION % "adversary: {loss: {name: mine, margins: 2.0}}")
    code, lines = run("idea")
    assert code == 2 and len(lines) == 1 and "mine has no parameter 'margins'; known: margin" in lines[0], lines


def test_labels_of_a_data_set_without_classes_are_refused_with_what_is_legal(project: Path) -> None:
    code, lines = run("conditional")
    assert code == 2 and "the data set has no labels" in lines[0] and "folder of its class" in lines[0], lines


def test_an_unknown_name_lists_those_of_the_project(project: Path) -> None:
    add("adversary.losses")
    with pytest.raises(Exception, match="unknown version or component 'ideas'; known: idea, mine"):
        list(check.check(["ideas"]))


@pytest.mark.parametrize("version", ["v8", "flow", "conditional", "stylegan2"])
def test_versions_that_come_with_ganealogy_pass(version: str) -> None:
    found = check_training(tiny_loop.plan(version, **({"classes": 3} if version == "conditional" else {})))
    assert not found.faults and found.note.startswith("4 steps of 4 random pictures")
