"""Versions that take another one apart."""

from __future__ import annotations

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.lineage import ablations, versions

FAMILY = versions.read_family(versions.known())


def test_each_ancestors_idea_is_left_out() -> None:
    found = ablations.leave_out(FAMILY["v12"], FAMILY)
    assert [each.name for each in found] == [f"v12-without-{idea}" for idea in ("v7", "v8", "v9", "v11")]
    first = found[0]
    assert first.version and first.version.parent == "v12" and not first.refused
    assert first.version.recipe["discriminator"]["norm"] == FAMILY["v1"].recipe["discriminator"].get("norm", "batch")
    assert first.content["without"] == ["v7"] and first.version.file.ablates is not None


def test_an_idea_of_which_nothing_is_left_is_refused() -> None:
    refused = {each.name: each.refused for each in ablations.leave_out(FAMILY["v14"], FAMILY)}
    assert refused["v14-without-v7"] == "the same as v14" and not refused["v14-without-v8"]


def test_pairs_are_left_out() -> None:
    found = ablations.leave_out(FAMILY["v11"], FAMILY, 2)
    assert [each.content["without"] for each in found] == [["v7", "v8"], ["v7", "v9"], ["v8", "v9"]]


def test_each_idea_is_alone_on_the_root() -> None:
    found = {each.name: each for each in ablations.alone(FAMILY["v12"], FAMILY)}
    assert list(found) == [f"v12-only-{idea}" for idea in ("v7", "v8", "v9", "v11", "v12")]
    assert found["v12-only-v7"].refused == "the same as v7"
    hinge = found["v12-only-v8"].version
    assert hinge and hinge.parent == "v1" and hinge.recipe["adversary"]["loss"]["name"] == "hinge"
    assert hinge.recipe["discriminator"] == FAMILY["v1"].recipe["discriminator"]


def test_a_bundle_is_split_into_its_changes() -> None:
    found = {each.name: each for each in ablations.split(FAMILY["v6"], FAMILY)}
    assert {name.split("-", 2)[2] for name in found} == {"steps", "loss", "constraint", "optimizers"}
    assert len(found) == 8
    for part in ("steps", "loss", "constraint", "optimizers"):
        only, less = found[f"v6-only-{part}"].content["changes"], found[f"v6-without-{part}"].content["changes"]
        parent = FAMILY["v5"]
        whole = versions.recipes.merge(versions.recipes.merge(parent.recipe, only), less)
        assert versions.recipes.check(whole, "both") == FAMILY["v6"].recipe


def test_two_changes_are_each_alone_and_no_more() -> None:
    assert [each.name for each in ablations.split(FAMILY["v9"], FAMILY)] == ["v9-only-lr", "v9-only-betas"]


@pytest.mark.parametrize(
    ("verb", "name", "why"),
    [
        (ablations.leave_out, "v1", "v1 has no idea between its root and its own changes, and an ablation needs 1"),
        (ablations.leave_out, "v2", "v2 has no idea between its root and its own changes"),
        (ablations.alone, "v1", "v1 has no idea after its root, and to try each alone takes 2: take "),
        (ablations.alone, "v2", "v2 has v2 after its root, and to try each alone takes 2"),
        (ablations.split, "v1", "v1 has no changes of its own to split"),
        (ablations.split, "v2", "v2 changes one thing, generator.activation: take a bundle"),
    ],
)
def test_what_cannot_be_taken_apart_is_one_line(verb, name: str, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GanealogyError, match=why):
        verb(FAMILY[name], FAMILY)


def test_a_pair_needs_two_ancestors() -> None:
    with pytest.raises(GanealogyError, match="v8 has v7 between its root and its own changes, and a pair needs 2"):
        ablations.leave_out(FAMILY["v8"], FAMILY, 2)
