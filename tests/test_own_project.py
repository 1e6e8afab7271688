"""A project of one's own: `ganealogy init` from an installed wheel, in a folder inside a larger repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from helpers.pipeline import COMPARE, ROOT, Workspace, once, ran
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

LOSS = '''\
"""Hinge loss with another margin."""

import torch
from torch.nn.functional import relu


class Margin:
    needs_reals = False

    def __init__(self, *, margin: float = 2.0) -> None:
        self.margin = margin

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        return relu(self.margin - real).mean() + relu(self.margin + fake).mean()

    def generator(self, fake: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
        return -fake.mean()

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid().mean()


loss = Margin
'''
VERSION = """\
title: A margin
parent: v1
idea: A wider margin.
source: this test
changes:
  adversary: {loss: margin}
"""


class Project(Workspace):
    """A folder with an environment of its own, which has the wheel and shares the other packages."""

    def __init__(self, path: Path, venv: Path) -> None:
        super().__init__(path)
        self.venv = venv

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in super().environment(**more).items() if name != "PYTHONPATH"}
        return {**kept, "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}"}

    def dvc(self, *arguments: str, check: bool = True, **environment: str) -> str:
        return self.run(str(self.venv / "bin/python"), "-m", "dvc", *arguments, check=check, **environment).stdout


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the built wheel, whose other packages are those of the tests."""

    def make(folder: Path) -> None:
        folder.mkdir()
        build = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
        subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)

    folder = once(tmp_path_factory, "wheel", make)
    [wheel] = folder.glob("*.whl")
    place = tmp_path_factory.mktemp("an environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin/python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    options = ["--no-deps", "--no-index", "--no-warn-script-location", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)], check=True)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, venv: Path) -> tuple[Project, str]:
    """A project in a folder with a space, inside a repository, of pictures in class folders; and what init printed."""
    outside = tmp_path_factory.mktemp("some place")
    for number in range(120):
        shape = ("circles", "squares")[number % 2]
        picture = Image.new("RGB", (40 + number % 3, 36), (255, 255, 200 + number // 3))
        box = (number % 17, number % 11, 20 + number % 17, 20 + number % 11)
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if shape == "circles" else draw.rectangle)(box, fill=(number, 2 * number, 80))
        (outside / "my pictures" / shape).mkdir(parents=True, exist_ok=True)
        picture.save(outside / "my pictures" / shape / f"{number}.png")
    repository = outside / "a repository"
    repository.mkdir()
    beside = Project(repository, venv)
    beside.run("git", "init", "-q")
    printed = beside.run("ganealogy", "init", "my faces", "--pictures", "../my pictures", "--hours", "0.2").stdout
    return Project(repository / "my faces", venv), printed


@pytest.fixture(scope="module")
def finished(made: tuple[Project, str]) -> tuple[Project, str]:
    """That project after its first `dvc repro`, with a version and a loss of its own and a tiny budget."""
    project = made[0]
    (project.path / "versions/margin.yaml").write_text(VERSION)
    (project.path / "components/adversary/losses").mkdir(parents=True)
    (project.path / "components/adversary/losses/margin.py").write_text(LOSS)
    yaml = YAML()
    params = yaml.load(project.path / "params.yaml")
    tiny = yaml.load(ROOT / "tests/tiny.yaml")
    params["dataset"] |= {"image_size": 16, "holdout": 0.2}
    params["tree"] = {"versions": ["v1", "margin"], "seeds": [0]}
    for section in ("train", "sample", "evaluate"):
        params[section] = tiny[section]
    with open(project.path / "params.yaml", "w") as file:
        yaml.dump(params, file)
    return project, project.dvc("repro")


def test_it_looks_at_the_pictures_and_says_why(made: tuple[Project, str]) -> None:
    project, printed = made
    assert "120 pictures in 2 class folders (circles, squares), colour, short side 36" in printed
    assert "v24, diffaugment, ada, conditional" in printed
    assert "120 pictures are few" in printed and "2 class folders" in printed
    assert "cd my faces" in printed or "cd 'my faces'" in printed
    assert "\n  dvc repro" in printed
    assert not (project.path / ".git").exists() and (project.path / ".dvc").is_dir()


def test_it_has_no_copies_of_what_comes_with_the_package(made: tuple[Project, str]) -> None:
    project = made[0]
    assert [path.name for path in (project.path / "versions").glob("*.yaml")] in ([], ["margin.yaml"])
    assert project.run("ganealogy", "tree").stdout.startswith("v1 The tutorial's DCGAN")
    listed = project.run("ganealogy", "use", "nonsense", check=False).stdout
    assert "unknown preset 'nonsense'; known: anime, avatars" in listed


def test_dvc_repro_runs_it_with_a_version_and_a_loss_of_its_own(finished: tuple[Project, str]) -> None:
    project, printed = finished
    assert ran(printed)[0] == "inputs" and {"train@v1", "train@margin"} < {*ran(printed)}
    assert "margin" in project.run("ganealogy", "summary").stdout
    assert (project.path / "reports/index.html").is_file()
    assert ran(project.dvc("repro")) == ["inputs"]
    plan = (project.path / "build/plan/versions/margin.json").read_text()
    assert '"ganealogy.adversary.losses.margin"' in plan
    assert "losses.margin" not in (project.path / "build/plan/versions/v1.json").read_text()


def test_an_edit_of_the_loss_trains_only_what_uses_it(finished: tuple[Project, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0].path, tmp_path / "copy", symlinks=True)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    project = Project(tmp_path / "copy", finished[0].venv)
    project.edit("components/adversary/losses/margin.py", "= 2.0", "= 3.0")
    stages = ran(project.dvc("repro"))
    assert "train@margin" in stages and "train@v1" not in stages
    project.append("components/adversary/losses/margin.py", "# a comment")
    assert "train@margin" not in ran(project.dvc("repro"))


def test_experiments_are_listed_in_100_columns(finished: tuple[Project, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0].path, tmp_path / "copy", symlinks=True)
    project = Project(tmp_path / "copy", finished[0].venv)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        project.run("git", *command)
    project.append("components/adversary/losses/margin.py", "# a comment")
    project.edit("params.yaml", "holdout: 0.2", "holdout: 0.1")
    table = project.dvc(*COMPARE, COLUMNS="100").splitlines()
    assert max(map(len, table)) <= 100
    [heading] = [line.split() for line in table if "Experiment" in line]
    assert heading == ["Experiment", "Created", "dataset.holdout"]


def test_a_version_of_the_project_replaces_the_one_of_its_name(finished: tuple[Project, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0].path, tmp_path / "copy", symlinks=True)
    project = Project(tmp_path / "copy", finished[0].venv)
    shutil.copy(ROOT / "versions/v1.yaml", project.path / "versions/v1.yaml")
    project.edit("versions/v1.yaml", "The tutorial's DCGAN", "My own root")
    assert project.run("ganealogy", "tree").stdout.startswith("v1 My own root")
    done = project.run("ganealogy", "new", "v8", "--parent", "margin", check=False)
    assert done.returncode == 2 and "a version v8 comes with Ganealogy: choose another name" in done.stdout


def test_without_pictures_it_is_the_demo(tmp_path: Path, venv: Path) -> None:
    place = Project(tmp_path, venv)
    place.run("ganealogy", "init", "demo")
    assert (tmp_path / "demo/.git").is_dir()
    inside = Project(tmp_path / "demo", venv)
    assert "avatars 16×16" in inside.run("ganealogy", "plan").stdout
    again = place.run("ganealogy", "init", "demo", check=False)
    assert again.returncode == 2 and "exists: name a new folder, or move that file" in again.stdout
