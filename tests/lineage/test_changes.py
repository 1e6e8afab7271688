from __future__ import annotations

from ganealogy.lineage.changes import changes

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
