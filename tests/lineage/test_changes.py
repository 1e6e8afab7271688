from __future__ import annotations

import pytest

from ganealogy.lineage.changes import Change, changes, count_changes
from ganealogy.lineage.recipe import complete
from ganealogy.lineage.versions import known, read_family

PARENT = {
    "loss": {"name": "bce", "real_target": 1.0, "fake_target": 0.0},
    "optimizer": {"name": "adam", "lr": "1x", "betas": [0.5, 0.999]},
    "constraint": None,
}


def lines(block: dict, own: dict) -> list[str]:
    return [str(change) for change in changes(block, PARENT, PARENT | own)]


def test_a_value_is_shown_as_before_and_after() -> None:
    own = {"loss": {**PARENT["loss"], "real_target": 0.9}}
    assert lines({"loss": {"real_target": 0.9}}, own) == ["loss.real_target 1.0 → 0.9"]


def test_another_component_is_one_line_in_both_notations() -> None:
    own = {"loss": {"name": "hinge"}}
    assert lines({"loss": "hinge"}, own) == lines({"loss": {"name": "hinge"}}, own) == ["loss bce → hinge"]


def test_parameters_given_to_another_component_follow_it() -> None:
    own = {"optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.0}}
    assert lines({"optimizer": {"name": "sgd", "lr": 0.02}}, own) == ["optimizer adam → sgd", "optimizer.lr 1x → 0.02"]


def test_a_component_can_be_added_and_removed() -> None:
    clip = {"name": "clip", "limit": 0.01}
    assert lines({"constraint": clip}, {"constraint": clip}) == ["constraint none → clip", "constraint.limit = 0.01"]
    back = changes({"constraint": None}, {"constraint": clip}, {"constraint": None})
    assert [str(change) for change in back] == ["constraint clip → none"]


def test_a_number_replaced_by_a_range_is_shown() -> None:
    own = {"loss": {**PARENT["loss"], "real_target": {"uniform": [0.8, 1.0]}}}
    block = {"loss": {"real_target": {"uniform": [0.8, 1.0]}}}
    assert lines(block, own) == ["loss.real_target 1.0 → uniform [0.8, 1.0]"]


def test_a_value_equal_to_the_parents_is_no_change() -> None:
    assert lines({"loss": {"real_target": 1.0}}, {}) == []
    assert changes(None, {}, PARENT) == []


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ([], 0),
        (["adversary.loss.real_target"], 1),
        (["adversary.loss.real_target", "adversary.loss.generator_target"], 1),
        (["adversary.constraint", "adversary.constraint.limit"], 1),
        (["generator", "discriminator"], 1),
        (["optimizers.generator.lr", "optimizers.discriminator.lr", "optimizers.discriminator.betas"], 2),
        (
            [
                "optimizers.generator",
                "optimizers.generator.lr",
                "optimizers.discriminator",
                "optimizers.discriminator.lr",
            ],
            1,
        ),
        (["optimizers.generator.schedule.from", "optimizers.generator.schedule.until"], 1),
        (["ema.half_life_kimg", "ema.ramp", "latent.size"], 2),
        (["generator.norm", "generator.normal"], 2),
        (["adversary.penalties", "adversary.generator_penalties"], 2),
    ],
)
def test_changes_are_counted_as_a_person_would(keys: list[str], count: int) -> None:
    assert count_changes([Change(key, "a", "b") for key in keys]) == count


def test_bundles_of_the_shipped_tree() -> None:
    family = read_family(known())
    counts = {}
    for name, version in family.items():
        if version.parent is not None:
            recipes = [complete(family[each].recipe, each) for each in (version.parent, name)]
            counts[name] = count_changes(changes(version.file.changes, *recipes))
    assert all(counts.values())
    assert counts["v2"] == counts["v8"] == counts["v13"] == 1 and counts["v9"] == 2 and counts["v16"] == 7
    assert counts["fastgan"] == 1 and counts["stylegan2"] == 5
