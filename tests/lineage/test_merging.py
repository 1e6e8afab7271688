"""Versions with two parents, and versions without an ancestor's idea."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ganealogy.errors import GanealogyError
from ganealogy.lineage import merging, versions
from ganealogy.lineage.versions import Version

HEAD = {"title": "T", "idea": "I", "source": "S"}
ROOT = {
    "latent": {"size": 8},
    "generator": "dcgan",
    "discriminator": "dcgan",
    "adversary": {"loss": "bce"},
    "optimizers": {"generator": "adam", "discriminator": "adam"},
}


@pytest.fixture
def read(tmp_path: Path):  # type: ignore[no-untyped-def]
    """read(name, v2={…}, …) → the version of that name in a family of v1, a root, and these files."""
    (tmp_path / "v1.yaml").write_text(yaml.safe_dump({**HEAD, "recipe": ROOT}))

    def read(name: str, **files: Any) -> Version:
        for each, content in files.items():
            (tmp_path / f"{each}.yaml").write_text(yaml.safe_dump({**HEAD, **content}))
        return versions.read_family([name], tmp_path)[name]

    return read


def child(parent: str, **changes: Any) -> dict[str, Any]:
    return {"parent": parent, "changes": changes}


SMOOTH = child("v1", adversary={"loss": {"real_target": 0.9}})
SPECTRAL = child("v1", discriminator={"norm": "spectral"})
HINGE = child("v1", adversary={"loss": "hinge"})


def test_two_branches_are_merged_leaf_by_leaf(read) -> None:  # type: ignore[no-untyped-def]
    merged = read("m", v2=SMOOTH, v3=SPECTRAL, m={"parents": ["v2", "v3"]})
    assert merged.recipe["adversary"]["loss"] == {"name": "bce", "real_target": 0.9}
    assert merged.recipe["discriminator"] == {"name": "dcgan", "norm": "spectral"}
    assert merged.origins["adversary.loss.real_target"] == "v2" and merged.origins["discriminator.norm"] == "v3"
    assert merged.origins["latent.size"] == "v1"
    assert (merged.parent, merged.parents, merged.ideas) == ("v2", ["v2", "v3"], ("v1", "v2", "v3", "m"))
    other = read("n", n={"parents": ["v3", "v2"]})
    assert other.recipe == merged.recipe and other.origins == merged.origins


def test_a_merge_and_its_descendants_have_changes_of_their_own(read) -> None:  # type: ignore[no-untyped-def]
    deep = read(
        "v5",
        v2=SMOOTH,
        v3=SPECTRAL,
        m={"parents": ["v2", "v3"], "changes": {"latent": {"size": 16}}},
        v5=child("m", generator={"activation": "leaky_relu"}),
    )
    assert deep.recipe["latent"]["size"] == 16 and deep.origins["latent.size"] == "m"
    assert deep.ideas == ("v1", "v2", "v3", "m", "v5")


@pytest.mark.parametrize(
    ("first", "second", "key", "values"),
    [
        (SMOOTH, child("v1", adversary={"loss": {"real_target": 0.8}}), "adversary.loss.real_target", "0.9 .* 0.8"),
        (SMOOTH, HINGE, "adversary.loss", "bce .*0.9.* and hinge"),
        (HINGE, SMOOTH, "adversary.loss", "hinge .* and bce .*0.9"),
        (
            child("v1", ema={"half_life_kimg": 10}),
            child("v1", ema={"half_life_share": 0.1}),
            "ema",
            ".*half_life_kimg.* and .*half_life_share",
        ),
        (
            child("v1", adversary={"augment": ["diffaugment"]}),
            child("v1", adversary={"augment": ["ada"]}),
            "adversary.augment",
            r"\[diffaugment\] .* and \[ada\]",
        ),
        (
            child("v1", optimizers={"generator": {"name": "sgd", "lr": 0.01}}),
            child("v1", optimizers={"generator": {"name": "sgd", "lr": 0.02}}),
            "optimizers.generator.lr",
            "0.01 .* and 0.02",
        ),
    ],
)
def test_two_changes_of_one_leaf_are_an_error_unless_the_file_decides(  # type: ignore[no-untyped-def]
    read, first: dict[str, Any], second: dict[str, Any], key: str, values: str
) -> None:
    with pytest.raises(GanealogyError, match=rf"m\.yaml: parents: both change {key}, to {values}.*: set it in"):
        read("m", v2=first, v3=second, m={"parents": ["v2", "v3"]})
    decided: Any = second["changes"]
    merged = read("m", m={"parents": ["v2", "v3"], "changes": decided})
    alone = read("v3")
    assert merged.recipe == alone.recipe


def test_equal_changes_of_both_are_no_conflict(read) -> None:  # type: ignore[no-untyped-def]
    merged = read("m", v2=SMOOTH, v3=SMOOTH, m={"parents": ["v2", "v3"]})
    assert merged.recipe == read("v2").recipe


@pytest.mark.parametrize(
    ("parents", "why"),
    [
        (["v1", "v2"], "v1 is an ancestor of v2: parent: v2"),
        (["v2", "v1"], "v1 is an ancestor of v2: parent: v2"),
        (["v2", "v2"], "names v2 twice"),
        (["v2"], "at least 2 items"),
        (["v2", "v9"], "no version 'v9'"),
        (["v2", "r2"], "v2 and r2 have no common ancestor"),
    ],
)
def test_a_merge_needs_two_branches_of_a_family(read, parents: list[str], why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GanealogyError, match=why):
        read("m", v2=SMOOTH, r2={"recipe": ROOT}, m={"parents": parents})


def test_a_cycle_through_a_merge_is_an_error(read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GanealogyError, match="cycle of parents"):
        read("m", v2=child("m", latent={"size": 4}), v3=SPECTRAL, m={"parents": ["v3", "v2"]})


def test_an_ancestors_idea_is_left_out(read) -> None:  # type: ignore[no-untyped-def]
    files = {
        "v2": SMOOTH,
        "v3": child("v2", discriminator={"norm": "spectral"}),
        "v4": child("v3", latent={"size": 16}),
        "v4-without-v2": {"parent": "v4", "without": ["v2"]},
    }
    less = read("v4-without-v2", **files)
    assert less.recipe["adversary"]["loss"] == {"name": "bce"}
    assert less.recipe["discriminator"]["norm"] == "spectral" and less.recipe["latent"]["size"] == 16
    assert less.ideas == ("v1", "v3", "v4", "v4-without-v2") and less.parent == "v4"
    both = read("x", x={"parent": "v4", "without": ["v2", "v4"], "changes": {"latent": {"size": 4}}})
    assert both.recipe["latent"]["size"] == 4 and both.ideas == ("v1", "v3", "x")
    below = read("y", y=child("v4-without-v2", generator={"activation": "leaky_relu"}))
    assert below.recipe["adversary"]["loss"] == {"name": "bce"} and below.ideas == (
        "v1",
        "v3",
        "v4",
        "v4-without-v2",
        "y",
    )


def test_an_idea_is_left_out_of_a_merge(read) -> None:  # type: ignore[no-untyped-def]
    less = read("x", v2=SMOOTH, v3=SPECTRAL, m={"parents": ["v2", "v3"]}, x={"parent": "m", "without": ["v3"]})
    assert less.recipe == read("v2").recipe


@pytest.mark.parametrize("name", ["v1", "v9", "v3", "x"])
def test_what_is_left_out_is_an_ancestors_idea(read, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GanealogyError, match=rf"x\.yaml: without: '{name}' is no idea of v2: v2"):
        read("x", v2=SMOOTH, v3=SPECTRAL, x={"parent": "v2", "without": [name]})


def test_a_root_has_no_ideas_to_leave_out(read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GanealogyError, match="'v1' is no idea of v1: none, as it is a root"):
        read("x", x={"parent": "v1", "without": ["v1"]})


def test_leaving_out_each_ancestor_of_the_first_sixteen_versions() -> None:
    """42 recipes, of which 18 equal the whole: nothing of the idea is left in the version."""
    family = versions.read_family([f"v{number}" for number in range(1, 17)])
    equal = new = 0
    for version in family.values():
        for idea in version.ideas[1:-1]:
            same = versions.rebuild(version.name, family, {idea})[0] == version.recipe
            equal, new = equal + same, new + (not same)
    assert (equal, new) == (18, 24)


def test_a_merge_of_three_texts() -> None:
    merged, conflicts = merging.merge({"a": 1, "b": 2, "c": 3}, {"a": 5, "b": 2}, {"a": 1, "b": 7, "c": 3, "d": 4})
    assert merged == {"a": 5, "b": 7, "d": 4} and conflicts == []
