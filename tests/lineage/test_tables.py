"""Tables and trees of versions in the terminal, and the creation of a new version."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from rich.console import Console

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.lineage import new_version, tables
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import known, path_of, read_family
from ganealogy.params import schema
from ganealogy.stages import plan
from ganealogy.tree_types import TreeJson


def text(part: Any) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(part)
    return console.export_text()


def test_versions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("v10", "v2", "mnist-mlp", "v1"):
        (tmp_path / f"{name}.yaml").touch()
    assert known(tmp_path) == ["mnist-mlp", "v1", "v2", "v10"]


def test_the_tree_shows_children_below_parents() -> None:
    lines = text(tables.FamilyTree(read_family(["v1", "v3", "v4", "v8"]))).splitlines()
    assert lines[0].startswith("v1 ")
    assert any("└── v4" in line and line.index("v4") > 4 for line in lines)


@pytest.mark.parametrize(
    ("more", "words"),
    [("{}", "seeds 0, 1 "), ("{v3: [5, 6, 7]}", "2 seeds, 5 of v3 "), ("{v1: [4], v3: [4]}", "seeds 0, 1, 4 ")],
)
def test_the_plans_table_gives_the_seeds(project: Path, more: str, words: str) -> None:
    params = project / "params.yaml"
    content = schema.read_yaml(params)
    content["tree"] |= {"seeds": [0, 1], "more_seeds": schema.YAML(typ="safe").load(more)}
    params.write_text(json.dumps(content))
    made = cast(TreeJson, plan.make(params, project / "versions")["tree.json"])
    assert f"· {words}" in " ".join(text(tables.table(made)).split()) + " "


def test_a_recipe_shows_the_origin_of_each_value() -> None:
    version = read_family(["v6"])["v6"]
    shown = {
        cells[1].strip(): (cells[2].strip(), cells[3].strip())
        for line in text(tables.recipe(version, recipes.complete(version.recipe, "v6"))).splitlines()
        if len(cells := line.split("│")) == 5
    }
    assert shown["adversary.constraint.limit"] == ("0.01", "v6")
    assert shown["latent.size"] == ("128", "v1")
    assert shown["optimizers.generator.momentum"] == ("0.0", "default")


def test_a_difference_names_only_what_differs() -> None:
    members = read_family(["v1", "v8"])
    shown = text(
        tables.difference("v1", "v8", {name: recipes.complete(members[name].recipe, name) for name in members})
    )
    assert "discriminator.norm" in shown and "spectral" in shown and "latent.size" not in shown
    assert "adversary.loss.fake_target" in shown and "0.0" in shown


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree("versions", tmp_path / "versions")
    shutil.copy("tests/tiny.yaml", tmp_path / "params.yaml")
    return tmp_path


def test_a_new_version_is_complete_and_listed(project: Path) -> None:
    path = new_version.new("mine", "v8", project / "versions", project / "params.yaml")
    assert schema.load(project / "params.yaml").tree.versions == ["v1", "v3", "mine"]
    assert "# a comment that edits must keep" in (project / "params.yaml").read_text()
    version = read_family(["mine"], project / "versions")["mine"]
    assert version.parent == "v8" and recipes.complete(version.recipe, str(path))


@pytest.mark.parametrize(
    ("name", "parent", "message"),
    [
        ("v3", "v1", "exists already"),
        ("V9", "v1", "not a version name"),
        ("../x", "v1", "not a"),
        ("new", "v99", "v99"),
    ],
)
def test_a_new_version_that_fails_leaves_nothing(project: Path, name: str, parent: str, message: str) -> None:
    before = sorted((project / "versions").iterdir()), (project / "params.yaml").read_text()
    with pytest.raises(GanealogyError, match=message):
        new_version.new(name, parent, project / "versions", project / "params.yaml")
    assert (sorted((project / "versions").iterdir()), (project / "params.yaml").read_text()) == before


def test_ablations_are_counted_and_those_that_others_grow_from_are_shown(tmp_path: Path) -> None:
    files = {
        "a": "title: A\nidea: i\nsource: s\nparent: v2\nchanges: {adversary: {loss: {real_target: 0.9}}}\n",
        "a-without-v2": "title: W\nidea: i\nsource: s\nparent: a\nwithout: [v2]\n"
        "ablates: {version: a, without: [v2]}\n",
        "a-only-a": "title: O\nidea: i\nsource: s\nparent: v1\nchanges: {adversary: {loss: {real_target: 0.9}}}\n"
        "ablates: {version: a, only: a}\n",
        "b": "title: B\nidea: i\nsource: s\nparent: a-only-a\nchanges: {adversary: {loss: {fake_target: 0.1}}}\n",
    }
    for name in ("v1", "v2"):
        shutil.copy(path_of(name), tmp_path)
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    family = read_family(["a", "a-without-v2", "b"], tmp_path)
    folded, whole = (text(tables.FamilyTree(family, fold=fold)) for fold in (True, False))
    assert "a A (1 ablation)" in folded and "a-without-v2" not in folded and "a-only-a O" in folded and "b B" in folded
    assert "a-without-v2 W (without v2)" in whole and "ablation" not in whole


@pytest.mark.parametrize("second", ["v23", "v9"])
def test_a_new_merge_is_written_also_where_the_file_has_to_decide(project: Path, second: str) -> None:
    places = project / "versions", project / "params.yaml"
    path = new_version.new("together", "v8" if second == "v23" else "v23", *places, other=second)
    if second == "v23":
        assert read_family(["together"], places[0])["together"].parents == ["v8", "v23"]
        return
    with pytest.raises(GanealogyError, match=r"both change optimizers.generator.lr, to 5x .* and 0.5x .*: set it in"):
        read_family(["together"], places[0])
    rate = "{lr: 1x, betas: [0.5, 0.9]}"
    decided = f"changes:\n  optimizers:\n    generator: {rate}\n    discriminator: {rate}\n"
    path.write_text(path.read_text() + decided)
    assert read_family(["together"], places[0])["together"].recipe["optimizers"]["generator"]["lr"] == "1x"


@pytest.mark.parametrize("second", ["v1", "v8", "mnist-mlp"])
def test_a_new_merge_that_fails_leaves_nothing(project: Path, second: str) -> None:
    places = project / "versions", project / "params.yaml"
    before = sorted(places[0].iterdir()), places[1].read_text()
    with pytest.raises(GanealogyError, match=r"is an ancestor of v8|names v8 twice|have no common ancestor"):
        new_version.new("together", "v8", *places, other=second)
    assert (sorted(places[0].iterdir()), places[1].read_text()) == before


def test_the_command_takes_one_or_two_parents(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    parents = ["--parent", "v8", "--parent", "v23"]
    done = CliRunner().invoke(cli, ["new", "together", *parents], catch_exceptions=False)
    assert "together.yaml: fill it in" in done.output
    assert CliRunner().invoke(cli, ["new", "three", *parents, "--parent", "v2"]).exit_code == 2
