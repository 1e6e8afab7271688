"""Components by name: those of the package, and a project's own files below components/."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.own_project import own_project

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.lineage import fingerprint

LOSS = """
from ganealogy.adversary.losses.hinge import Hinge

FACTOR = 2


def scale() -> int:
    return FACTOR


loss = Hinge
"""
MINE = "components/adversary/losses/mine.py"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_project(tmp_path, monkeypatch):
        yield tmp_path


def write(path: str, content: str = LOSS) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_without_own_components_there_are_those_of_the_package(project: Path) -> None:
    assert components.own() == {}
    assert {"bce", "hinge"} < {*components.known("adversary.losses")}
    assert "_base" not in components.known("adversary.losses")
    assert components.known("networks") == tuple(sorted(components.known("networks")))


def test_an_own_component_is_known_found_loaded_and_parsed(project: Path) -> None:
    path = write(MINE)
    write("components/adversary/losses/_helper.py", "")
    write("components/networks/layers/mine.py", "")
    assert components.own() == {("adversary.losses", "mine"): path}
    assert "mine" in components.known("adversary.losses") and "mine" not in components.known("networks")
    module = components.load("adversary.losses", "mine", "versions/a.yaml: adversary.loss")
    assert module.__name__ == "ganealogy.adversary.losses.mine" and Path(str(module.__file__)) == path.resolve()
    constants = components.module_constants("adversary.losses", "mine")
    assert constants == {"FACTOR": 2, "scale": None}


def test_own_modules_import_each_other_and_are_found_once(project: Path) -> None:
    write("components/adversary/losses/_shared.py", "WEIGHT = 3\n")
    write(MINE, "from ganealogy.adversary.losses._shared import WEIGHT\n" + LOSS)
    assert components.load("adversary.losses", "mine").WEIGHT == 3
    components.find_own()
    places = list(importlib.import_module("ganealogy.adversary.losses").__path__)
    assert places.count(str(project / "components/adversary/losses")) == 1
    assert {*fingerprint.closure(["ganealogy.adversary.losses.mine"])} >= {
        "ganealogy.adversary.losses.mine",
        "ganealogy.adversary.losses._shared",
        "ganealogy.adversary.losses.hinge",
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("components/adversary/loses/mine.py", r"loses/mine\.py: move it to the folder of its kind in components/, "),
        ("components/mine.py", r"components/mine\.py: move it to the folder of its kind"),
        ("components/training/mine.py", r"training/mine\.py: move it to the folder of its kind"),
        ("components/adversary/losses/hinge.py", r"hinge\.py: a component hinge comes with Ganealogy: rename the file"),
        ("components/networks/__init__.py", r"__init__\.py: delete it"),
    ],
)
def test_a_file_in_a_wrong_place_is_refused_by_all_that_load(project: Path, path: str, message: str) -> None:
    write(path)
    for load in (components.own, lambda: components.load("adversary.losses", "bce")):
        with pytest.raises(GanealogyError, match=message):
            load()


def test_files_that_editors_keep_in_hidden_folders_are_left_alone(project: Path) -> None:
    write("components/.ipynb_checkpoints/mine-checkpoint.py")
    write("components/adversary/losses/.trash/mine.py")
    assert components.own() == {}
    components.find_own()


def test_an_unknown_name_lists_own_components_too(project: Path) -> None:
    write(MINE)
    with pytest.raises(GanealogyError, match=r"^versions/a\.yaml: unknown name 'mien'; known: bce, .*hinge, .*mine"):
        components.require("adversary.losses", "mien", "versions/a.yaml")


def test_the_fingerprint_finds_the_file_of_a_module(project: Path) -> None:
    path = write(MINE)
    assert fingerprint.module_path("ganealogy.adversary.losses.mine") == path
    assert (
        fingerprint.module_path("ganealogy.adversary.losses.hinge") == components.SOURCE / "adversary/losses/hinge.py"
    )
    assert fingerprint.module_path("ganealogy.adversary") == components.SOURCE / "adversary/__init__.py"
    assert fingerprint.module_path("ganealogy") == components.SOURCE / "__init__.py"
    for other in ("torch", "ganealogy.adversary.losses.absent", "mine"):
        assert fingerprint.module_path(other) is None


def test_an_edit_of_an_own_component_changes_the_fingerprint(project: Path) -> None:
    path = write(MINE)
    before = fingerprint.closure(["ganealogy.adversary.losses.mine"])
    path.write_text(LOSS.replace("FACTOR = 2", "FACTOR = 33"))
    after = fingerprint.closure(["ganealogy.adversary.losses.mine"])
    assert {name for name in before if before[name] != after[name]} == {"ganealogy.adversary.losses.mine"}


def test_a_relative_import_is_refused_with_its_line(project: Path) -> None:
    write(MINE, "from . import _shared\n")
    with pytest.raises(GanealogyError, match=r"components/adversary/losses/mine\.py:1: relative imports"):
        fingerprint.closure(["ganealogy.adversary.losses.mine"])
