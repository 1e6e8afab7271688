"""Which ancestors' ideas are in force, and where people read it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.lineage import ideas, versions

FAMILY = versions.read_family(versions.known())


@pytest.mark.parametrize(
    ("name", "kept", "lost"),
    [
        ("v1", [], []),
        ("v2", [], []),
        ("v6", [], ["v3", "v4", "v5"]),
        ("v10", ["v6"], ["v3", "v4", "v5"]),
        ("v12", ["v7", "v8", "v9", "v11"], []),
        ("v16", ["v15"], ["v7", "v8", "v9", "v11", "v12"]),
    ],
)
def test_an_idea_is_in_force_if_the_recipe_differs_without_it(name: str, kept: list[str], lost: list[str]) -> None:
    assert (ideas.in_force(FAMILY[name], FAMILY), ideas.overwritten(FAMILY[name], FAMILY)) == (kept, lost)


def test_an_idea_is_newly_replaced_once() -> None:
    assert ideas.newly_overwritten(FAMILY["v6"], FAMILY) == ["v5"]
    assert ideas.newly_overwritten(FAMILY["v10"], FAMILY) == []


def test_the_rule_without_building_the_recipe_agrees_with_the_recipe() -> None:
    for version in FAMILY.values():
        for idea in version.ideas[1:-1]:
            try:
                differs = versions.rebuild(version.name, FAMILY, {idea})[0] != version.recipe
            except GanealogyError:
                differs = True
            assert (idea in ideas.in_force(version, FAMILY)) == differs, (version.name, idea)


def printed(*arguments: str) -> str:
    runner = CliRunner(env={"COLUMNS": "150"})
    return " ".join(runner.invoke(cli, arguments, catch_exceptions=False).output.split())


def test_show_says_which_are_in_force() -> None:
    assert "Its ancestors' ideas: in force: v7, v8, v9, v11" in printed("show", "v12")
    assert "in force: v15; nothing is left of v7, v8, v9, v11, v12" in printed("show", "v16")
    assert "ancestors' ideas" not in printed("show", "v2")


def test_the_tree_says_which_are_replaced() -> None:
    text = printed("tree", "--all")
    assert "v6 Wasserstein GAN (replaces v5)" in text and "v12 DiffAugment " in text
