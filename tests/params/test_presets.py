"""Presets and edits of params.yaml are valid and keep its comments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.params import edit, schema


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy("tests/tiny.yaml", tmp_path / "params.yaml"))


@pytest.mark.parametrize("name", edit.known())
def test_every_preset_can_be_written_to_params(params: Path, name: str) -> None:
    difference = edit.use(name, params=params)
    assert (difference.startswith("---") and "+  name:" in difference) or name in ("demo", "avatars")
    assert schema.load(params) == schema.load(Path(f"presets/{name}.yaml"))
    assert edit.use(name, params=params) == "", "a second time changes nothing"


def test_comments_are_kept(params: Path) -> None:
    edit.use("anime", params=params)
    edit.use("demo", params=params)
    assert "# A protocol for tests" in params.read_text()


def test_the_shipped_params_are_the_demo_preset() -> None:
    assert schema.load(Path("params.yaml")) == schema.load(Path("presets/demo.yaml"))


def test_the_folder_preset_takes_a_path(params: Path) -> None:
    edit.use("folder", "my pictures", params)
    assert schema.load(params).dataset.path == "my pictures"


def test_an_unknown_preset_lists_the_known(params: Path) -> None:
    with pytest.raises(GanealogyError, match=r"unknown preset 'cats'; known: .*anime.*demo"):
        edit.use("cats", params=params)


def test_an_extractor_is_added_once(params: Path) -> None:
    assert "inception" in edit.add_extractor("inception", params)
    assert edit.add_extractor("inception", params) == ""
    assert schema.load(params).evaluate.extractors == ["pixel8", "inception"]


def test_a_broken_params_file_is_named_and_not_changed(params: Path) -> None:
    params.write_text("dataset: [")
    with pytest.raises(GanealogyError, match="not valid YAML"):
        edit.add_extractor("inception", params)
    assert params.read_text() == "dataset: ["


def test_lists_stay_on_one_line(params: Path) -> None:
    edit.use("folder", "pictures", params)
    assert "extractors: [pixel8, effnet_lite0]" in params.read_text()
