"""A merge of two branches: two edges, two verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_tree
from helpers.small_tree import around, version

from ganealogy.report import as_json, markdown, page
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings
from ganealogy.report.outcome import outcome
from ganealogy.report.pictures import Gallery
from ganealogy.report.terminal import summary
from ganealogy.report.verdict_table import VerdictTable, parents_of
from ganealogy.settle import edges

CENTRES = {"v1": 200.0, "v2": 150.0, "v3": 100.0, "v4": 99.0}
"""v4 merges v2 and v3: better than the first, and about equal to the second."""


@pytest.fixture
def merged(tmp_path: Path) -> Findings:
    entries = [version("v1"), version("v2", "v1"), version("v3", "v1"), version("v4", "v2", "v3")]
    values = {name: around(centre, turn=at) for at, (name, centre) in enumerate(CENTRES.items())}
    return collect(small_tree.make(tmp_path, entries, values))


def test_a_merge_has_a_verdict_against_each_parent(merged: Findings) -> None:
    table, merge = VerdictTable.of(merged), merged.listed[3]
    first, second = table.verdict(merge), table.second(merge)
    assert first is not None and first.word == "better" and list(second) == ["v3"]
    assert second["v3"].word in ("equivalent", "no difference shown")
    assert "Holm over 4 edges" in first.why and "Holm over 4 edges" in second["v3"].why
    assert table.second(merged.listed[1]) == {}


def test_its_edges_have_keys_of_their_own(merged: Findings) -> None:
    assert list(parents_of(merged).items()) == [
        ("v1", None), ("v2", "v1"), ("v3", "v1"), ("v4", "v2"), ("v4 against v3", "v3"),
    ]  # fmt: skip


def test_both_count_as_ideas(merged: Findings) -> None:
    assert outcome(merged, VerdictTable.of(merged).verdicts).ideas.startswith("Of 4 ideas, 3 helped and 1 ")


def test_page_markdown_and_summary_show_both(merged: Findings) -> None:
    text = page.render(merged, Gallery())
    assert "from v2 and v3" in text and "merged with v3" in text and "against v3" in text
    written = markdown.render(merged, {})
    assert "| v2 and v3 |" in written and "against v3 −1 %" in written
    assert "merged with v3" in str([list(each.columns[1].cells) for each in summary(merged.root, 100).renderables
                                    if hasattr(each, "columns")])  # fmt: skip


def test_judge_answers_for_both(merged: Findings) -> None:
    for parent in ("v2", "v3"):
        _, other, verdict, remark = as_json.judge(merged.root, "v4", parent)
        assert other == parent and "all edges of the tree" in remark and verdict.effect is not None
    [merge] = [each for each in as_json.summary(merged.root)["versions"] if each["name"] == "v4"]
    assert list(merge["against_other_parent"]) == ["v3"]


def test_settle_has_both_edges(merged: Findings) -> None:
    assert [(state.child, state.parent) for state in edges(merged, ["v4"], 40)] == [("v4", "v2"), ("v4", "v3")]


def test_a_missing_second_parent_is_not_measured(tmp_path: Path) -> None:
    entries = [version("v1"), version("v2", "v1"), version("v3", "v1", listed=False), version("v4", "v2", "v3")]
    values = {name: around(centre, turn=at) for at, (name, centre) in enumerate(CENTRES.items())}
    findings = collect(small_tree.make(tmp_path, entries, values))
    second = VerdictTable.of(findings).second(findings.listed[-1])
    assert second["v3"].word == "not measured" and "v3 is not among the versions compared" in second["v3"].why
    assert outcome(findings, VerdictTable.of(findings).verdicts).ideas
