"""Presets and edits of params.yaml are valid; edits keep its comments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.params import edit, schema
from ganealogy.stages import plan


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy("tests/tiny.yaml", tmp_path / "params.yaml"))


@pytest.mark.parametrize("name", edit.known())
def test_every_preset_can_be_written_to_params(params: Path, name: str) -> None:
    difference = edit.use(name, params=params)
    assert (difference.startswith("---") and "+  name:" in difference) or name in ("demo", "avatars")
    assert schema.load(params) == schema.load(Path(f"presets/{name}.yaml"))
    assert edit.use(name, params=params) == "", "a second time changes nothing"


@pytest.mark.parametrize("name", edit.known())
def test_comments_are_those_of_the_preset(params: Path, name: str) -> None:
    edit.use("folder", str(params.parent), params)
    edit.use("notebook", params=params)
    edit.use(name, params=params)
    kept = f"  path: {params.parent}\n"
    assert params.read_text().replace(kept, "") == Path(f"presets/{name}.yaml").read_text().replace(
        "  path: pictures\n", ""
    )
    assert params.read_text().count(kept) == 1


def test_an_edit_keeps_comments(params: Path) -> None:
    edit.add_version("v2", params)
    edit.add_extractor("clip", params)
    assert "# A protocol for tests" in params.read_text()


def test_the_shipped_params_are_the_demo_preset() -> None:
    assert schema.load(Path("params.yaml")) == schema.load(Path("presets/demo.yaml"))


def test_the_folder_preset_takes_a_path(params: Path) -> None:
    mine = params.parent / "my pictures"
    mine.mkdir()
    edit.use("folder", str(mine), params)
    assert schema.load(params).dataset.path == str(mine)


@pytest.mark.parametrize("between", [[], ["anime"], ["mnist", "demo", "avatars"]])
def test_the_path_of_a_person_is_kept(between: list[str], params: Path) -> None:
    mine = params.parent / "my pictures"
    mine.mkdir()
    for name in ("folder", *between):
        edit.use(name, str(mine) if name == "folder" else None, params)
    edit.use("folder", params=params)
    assert schema.load(params).dataset.path == str(mine)
    (params.parent / "others").mkdir()
    edit.use("folder", str(params.parent / "others"), params)
    assert schema.load(params).dataset.path == str(params.parent / "others")


@pytest.mark.parametrize("path", ["nowhere", "data/raw", "/", "", "~/nowhere"])
def test_a_path_without_pictures_is_refused_at_once(path: str, params: Path) -> None:
    before = params.read_text()
    with pytest.raises(GanealogyError, match=r"dataset\.path = "):
        edit.use("folder", path, params)
    with pytest.raises(GanealogyError, match="--path is for the preset folder, not anime: `ganealogy use anime`"):
        edit.use("anime", path, params)
    assert params.read_text() == before
    edit.use("anime", params=params)


def test_an_unknown_preset_lists_the_known(params: Path) -> None:
    with pytest.raises(GanealogyError, match=r"unknown preset 'cats'; known: .*anime.*demo"):
        edit.use("cats", params=params)


def test_an_extractor_is_added_once(params: Path) -> None:
    assert "inception" in edit.add_extractor("inception", params)
    assert edit.add_extractor("inception", params) == ""
    assert schema.load(params).evaluate.extractors == ["pixel8", "inception"]


@pytest.mark.parametrize("name", edit.known())
def test_no_other_line_changes(name: str, tmp_path: Path) -> None:
    params = Path(shutil.copy(f"presets/{name}.yaml", tmp_path / "params.yaml"))
    added = edit.add_extractor("clip", params)
    assert [line[0] for line in added.splitlines()[2:] if line[0] in "-+"] == ["-", "+"], added


def test_a_broken_params_file_is_named_and_not_changed(params: Path) -> None:
    params.write_text("dataset: [")
    with pytest.raises(GanealogyError, match="not valid YAML"):
        edit.add_extractor("inception", params)
    assert params.read_text() == "dataset: ["


def test_lists_stay_on_one_line(params: Path) -> None:
    edit.use("folder", params=params)
    assert "extractors: [layout_edges_32_64, pixel8, pictures, effnet_lite0_64]" in params.read_text()


def test_a_version_may_have_more_seeds_than_the_others(params: Path) -> None:
    text = params.read_text()
    params.write_text(text.replace("tree:\n", "tree:\n  more_seeds: {v3: [5, 0, 6], v1: []}\n"))
    tree = schema.load(params).tree
    assert tree.seeds_of("v1") == tree.seeds
    assert tree.seeds_of("v3") == [*tree.seeds, *(seed for seed in (5, 0, 6) if seed not in tree.seeds)], "each once"
    plans = plan.make(params)
    assert {entry["name"]: entry["seeds"] for entry in plans["tree.json"]["versions"]} == {  # type: ignore[typeddict-item]
        "v1": tree.seeds, "v3": tree.seeds_of("v3"),
    }  # fmt: skip
    assert plans["versions/v3.json"]["seeds"] == tree.seeds_of("v3")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("{v3: [-1]}", r"tree\.more_seeds\.v3\.0 = -1: .*greater than or equal to 0"),
        ("{v3: 5}", r"tree\.more_seeds\.v3 = 5: .*valid list"),
        ("{v99: [5]}", r"params\.yaml: tree\.more_seeds: unknown version 'v99'; known: .*v1, v2"),
    ],
)
def test_wrong_seeds_of_a_version_are_named(params: Path, more: str, message: str) -> None:
    params.write_text(params.read_text().replace("tree:\n", f"tree:\n  more_seeds: {more}\n"))
    with pytest.raises(GanealogyError, match=message):
        plan.make(params)


def test_versions_to_compare_with_are_listed_ones(params: Path) -> None:
    text = params.read_text()
    params.write_text(text.replace("evaluate:\n", "evaluate:\n  against: [v1]\n"))
    assert plan.make(params)["tree.json"]["evaluate"]["against"] == ["v1"]  # type: ignore[typeddict-item]
    params.write_text(text.replace("evaluate:\n", "evaluate:\n  against: [v8]\n"))
    with pytest.raises(GanealogyError, match=r"params\.yaml: evaluate\.against: unknown version 'v8'; known: v1, v3"):
        plan.make(params)


def test_the_plan_names_versions_that_are_left_out(params: Path) -> None:
    left_out = plan.make(params)["tree.json"]["left_out"]  # type: ignore[typeddict-item]
    assert "v2" in left_out and "v18" in left_out and not {"v1", "v3", "mnist-mlp"} & set(left_out)


def test_all_of_train_is_no_reference_for_the_checkpoint_that_it_picked(params: Path) -> None:
    rest, _, _ = params.read_text().partition("sample:")
    evaluate = "evaluate: {extractors: [pixel8], lead: fd_pixel8, reals: null}\n"
    params.write_text(f"{rest}sample: {{checkpoint: last}}\n{evaluate}")
    assert schema.load(params).evaluate.reals is None
    params.write_text(f"{rest}sample: {{checkpoint: best}}\n{evaluate}")
    with pytest.raises(GanealogyError, match=r"evaluate\.reals = null takes in the pictures that pick .* to a number$"):
        schema.load(params)
