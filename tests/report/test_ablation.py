"""The table of a version that is taken apart: when added, alone, left out of the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import small_tree
from helpers.small_tree import around, version

from ganealogy.report import as_json, markdown, page
from ganealogy.report.ablation import AblationTable, ablation_tables
from ganealogy.report.collect import collect
from ganealogy.report.pictures import Gallery
from ganealogy.report.seeds import plan_seeds
from ganealogy.report.terminal import summary
from ganealogy.report.verdict_table import verdicts_for

TREE = [version("v1"), version("v2", "v1"), version("v3", "v2"), version("v4", "v3")]


def without(*ideas: str, **more: Any) -> dict[str, Any]:
    """v4 without some ideas."""
    said = {"version": "v4", "without": list(ideas)}
    return version(f"v4-without-{'-'.join(ideas)}", "v4", ablates=said, **more)


def only(idea: str) -> dict[str, Any]:
    return version(f"v4-only-{idea}", "v1", ablates={"version": "v4", "only": idea})


def table(root: Path, centres: dict[str, float], entries: list[dict[str, Any]]) -> AblationTable:
    values = {name: around(centre, turn=at) for at, (name, centre) in enumerate(centres.items())}
    findings = collect(small_tree.make(root, [*TREE, *entries], values))
    [found] = ablation_tables(findings, verdicts_for(findings, findings.primary_metric))
    return found


TAKEN_APART = {"v1": 200.0, "v2": 150.0, "v3": 151.0, "v4": 100.0, "v4-without-v2": 101.0, "v4-without-v3": 140.0}
ALONE = {"v4-only-v3": 201.0, "v4-only-v4": 130.0}


@pytest.fixture
def apart(tmp_path: Path) -> AblationTable:
    """v2 helped when added, and v4 is as good without it; v3 did nothing when added, and v4 needs it."""
    return table(tmp_path, TAKEN_APART | ALONE, [without("v2"), without("v3"), only("v3"), only("v4")])


def test_an_idea_has_up_to_three_comparisons(apart: AblationTable) -> None:
    rows = {row.idea: row for row in apart.rows}
    assert list(rows) == ["v2", "v3", "v4"] and apart.version == "v4" and apart.edges == 4
    second = rows["v2"]
    assert second.added and (second.added.child, second.added.other, second.added.verdict.word) == (
        "v2", "v1", "better",
    )  # fmt: skip
    assert second.alone == second.added  # a child of the root is alone there
    assert second.left_out and (second.left_out.other, second.left_out.verdict.word) == ("v4", "equivalent")
    third = rows["v3"]
    assert third.added and third.added.verdict.word in ("equivalent", "no difference shown")
    assert third.alone and third.alone.other == "v1" and third.left_out and third.left_out.verdict.word == "worse"
    assert rows["v4"].left_out is None and rows["v4"].alone and rows["v4"].alone.verdict.word == "better"


def test_a_note_says_where_the_columns_disagree(apart: AblationTable) -> None:
    notes = {row.idea: row.note for row in apart.rows}
    assert notes == {"v2": "the others do its work by now", "v3": "better with the others than alone", "v4": ""}


def test_without_evidence_there_is_no_note(tmp_path: Path) -> None:
    centres = TAKEN_APART | {"v4-without-v2": 108.0}
    values = {name: around(centre, turn=at) for at, (name, centre) in enumerate(centres.items())}
    values["v4-without-v2"] = [80.0, 150.0, 95.0, 120.0, 100.0]
    findings = collect(small_tree.make(tmp_path, [*TREE, without("v2"), without("v3")], values))
    [found] = ablation_tables(findings, verdicts_for(findings, findings.primary_metric))
    row = found.rows[0]
    assert row.left_out and row.left_out.verdict.word == "no difference shown" and row.note == ""


def test_an_end_that_is_better_without_an_idea_says_so(tmp_path: Path) -> None:
    found = table(tmp_path, TAKEN_APART | {"v4-without-v3": 70.0}, [without("v2"), without("v3")])
    assert {row.idea: row.note for row in found.rows}["v3"] == "the end is better without it"


def test_pairs_are_compared_with_the_whole(tmp_path: Path) -> None:
    centres = TAKEN_APART | {"v4-without-v2-v3": 150.0}
    found = table(tmp_path, centres, [without("v2"), without("v3"), without("v2", "v3")])
    [pair] = found.pairs
    assert (pair.child, pair.other, pair.verdict.word) == ("v4-without-v2-v3", "v4", "worse") and found.edges == 3


def test_the_parts_of_a_bundle_are_compared_with_its_parent_and_with_it(tmp_path: Path) -> None:
    parts = [
        version("v4-only-loss", "v3", ablates={"version": "v4", "part": "loss", "kind": "only"}),
        version("v4-without-loss", "v3", ablates={"version": "v4", "part": "loss", "kind": "without"}),
    ]
    centres = {"v1": 200.0, "v2": 150.0, "v3": 151.0, "v4": 100.0, "v4-only-loss": 149.0, "v4-without-loss": 101.0}
    [row] = table(tmp_path, centres, parts).rows
    assert row.idea == "loss" and row.added is None
    assert row.alone and row.alone.other == "v3" and row.left_out and row.left_out.other == "v4"


def test_no_verdict_of_the_tree_depends_on_ablations(tmp_path: Path) -> None:
    centres = {name: TAKEN_APART[name] for name in ("v1", "v2", "v3", "v4")}
    plain = {name: around(centre, turn=at) for at, (name, centre) in enumerate(centres.items())}
    before = collect(small_tree.make(tmp_path / "before", TREE, plain))
    extra = {name: around(1 + 300 * at) for at, name in enumerate(("v4-without-v2", "v4-without-v3"))}
    after = collect(small_tree.make(tmp_path / "after", [*TREE, without("v2"), without("v3")], plain | extra))
    assert [child.name for child in after.versions[3].children] == [] and len(after.versions[3].ablations) == 2
    assert [root.name for root in after.roots] == ["v1"]
    assert verdicts_for(before, small_tree.METRIC) == verdicts_for(after, small_tree.METRIC)


def test_page_markdown_and_summary_show_the_table(tmp_path: Path) -> None:
    table(tmp_path, TAKEN_APART | ALONE, [without("v2"), without("v3"), only("v3"), only("v4")])
    findings = collect(tmp_path)
    text = page.render(findings, Gallery())
    assert (
        "What carries v4" in text
        and "a family of 4 comparisons" in text
        and "better with the others than alone" in text
    )
    assert "4 ablations" in text
    written = markdown.render(findings, {})
    assert "### What carries v4" in written and "better with the others than alone" in written
    shown = [str(cell) for cell in summary(tmp_path, 100).renderables]
    assert any("what carries v4" in cell for cell in shown)


def test_seeds_and_judge_know_what_an_ablation_is_compared_with(tmp_path: Path) -> None:
    table(tmp_path, TAKEN_APART | ALONE, [without("v2"), without("v3"), only("v3"), only("v4")])
    for name, other, word in (("v4-without-v3", "v4", "worse"), ("v4-only-v4", "v1", "better")):
        _, against, verdict, remark = as_json.judge(tmp_path, name, None)
        assert (against, verdict.word) == (other, word) and remark.startswith("exploratory: ")
        plan = plan_seeds(tmp_path, name)
        assert plan.parent == other and plan.spread.family == 4


def test_without_the_version_that_it_takes_apart_it_is_a_child_of_its_parent(tmp_path: Path) -> None:
    entries = [version("v1"), version("v4-only-v3", "v1", ablates={"version": "v4", "only": "v3"})]
    values = {"v1": around(200.0), "v4-only-v3": around(150.0, turn=1)}
    findings = collect(small_tree.make(tmp_path, entries, values))
    assert verdicts_for(findings, small_tree.METRIC)["v4-only-v3"].word == "better"
    assert [each.name for each in findings.versions[0].children] == ["v4-only-v3"]


def test_distances_behind_the_gate_give_no_note(tmp_path: Path) -> None:
    far = {name: 500 + centre * 2 for name, centre in (TAKEN_APART | {"v1": 100.0, "v2": 101.0}).items()}
    found = table(tmp_path, far | {"v4-without-v3": 1500.0}, [without("v2"), without("v3")])
    assert {row.left_out.verdict.word for row in found.rows if row.left_out} == {"not yet"}
    assert not any(row.note for row in found.rows)
