"""Verdicts for findings, and how page, Markdown and terminal show them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.five_seeds import METRIC, SPREAD, VALUES, add_run, edit_tree, make_tree, plan_seeds, remove_metrics

from ganealogy.report import markdown, page, pictures
from ganealogy.report.collect import collect
from ganealogy.report.verdict_table import (
    VerdictTable,
    css_class,
    decision_rule,
    effect,
    effect_range,
    estimates_for,
    interval,
    verdict_label,
    verdicts_for,
)
from ganealogy.verdicts.significance import BETTER, EQUIVALENT, NO_DIFFERENCE, TOO_FEW, Verdict, verdicts


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def test_findings_become_verdicts(seeded: Path) -> None:
    results = verdicts_for(collect(seeded), METRIC)
    assert {name: verdict.label for name, verdict in results.items()} == {
        "v3": "better",
        "v5": "equivalent within 10 %",
        "v7": "not yet",
    }
    values = {name: [value * factor for factor in SPREAD] for name, value in VALUES.items()}
    parents = {"v1": None, "v3": "v1", "v5": "v3", "v7": "v1"}
    assert results == verdicts(METRIC, values, parents, 473.0, planned=dict.fromkeys(VALUES, 5), margin=0.1)
    assert "after Holm over 2 edges" in results["v3"].why


def test_the_equivalence_margin_comes_from_the_plan(seeded: Path) -> None:
    edit_tree(seeded, evaluate={"equivalence_margin": 0.02})
    assert verdicts_for(collect(seeded), METRIC)["v5"].word == "no difference shown"
    edit_tree(seeded, evaluate={"equivalence_margin": 0.1})
    assert verdicts_for(collect(seeded), METRIC)["v5"].word == "equivalent"


def test_a_new_margin_changes_no_stage_plan() -> None:
    from ganealogy.params.schema import load
    from ganealogy.stages.plan import stage_plans

    settings = load()
    other = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"equivalence_margin": 0.3})})
    assert stage_plans(other) == stage_plans(settings)


def test_missing_seeds_are_counted_and_unlisted_parents_are_not_compared(seeded: Path) -> None:
    remove_metrics(seeded, "v5", 3)
    results = verdicts_for(collect(seeded), METRIC)
    assert results["v5"].word == "too few seeds" and "1 of 5 seeds of v5" in results["v5"].why
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[entry | {"listed": entry["name"] != "v3"} for entry in versions])
    results = verdicts_for(collect(seeded), METRIC)
    assert (
        "v3" not in results and results["v5"].word == "not measured" and "parent v3 is not among" in results["v5"].why
    )
    assert verdicts_for(collect(seeded), "fid")["v5"].word == "not measured"


def test_each_version_is_compared_with_the_seeds_that_it_has(seeded: Path) -> None:
    plan_seeds(seeded, [0, 1, 2, 3, 4], v3=[5, 6, 7])
    for seed in (5, 6):
        add_run(seeded, "v3", seed, 1.02)
    remove_metrics(seeded, "v5", 3)
    results = verdicts_for(collect(seeded), METRIC)
    assert results["v3"].word == "better" and "7 against 5 seeds" in results["v3"].why
    assert results["v3"].why.endswith("without a number: 1 of 8 seeds of v3"), "v1 has all five of its own"
    assert results["v5"].why.endswith("without a number: 1 of 5 seeds of v5, 1 of 8 seeds of v3")
    assert "without a number" not in results["v7"].why
    estimates = estimates_for(collect(seeded), METRIC)
    assert [len(estimates[name].values) for name in VALUES] == [5, 7, 4, 5]


def test_versions_without_values_have_no_estimate(seeded: Path, shared_project: Path) -> None:
    estimates = estimates_for(collect(seeded), METRIC)
    assert list(estimates) == list(VALUES) and estimates["v1"].values == tuple(200 * factor for factor in SPREAD)
    assert estimates["v1"].low is not None and estimates["v1"].low < estimates["v1"].mean < 200
    assert estimates_for(collect(shared_project), METRIC)["v7"].low is None
    assert estimates_for(collect(seeded), "fid") == {}


def test_page_and_markdown_state_the_decision_rule(seeded: Path, shared_project: Path) -> None:
    text = "at most 3 %; then at most 5 % of trees"
    for directory, tested in ((seeded, True), (shared_project, False)):
        findings = collect(directory)
        assert (text in page.render(findings, pictures.gather(findings))) is tested
        assert (text in markdown.render(findings, {})) is tested


def test_effects_are_percentages_of_distances_and_differences_of_other_metrics() -> None:
    verdict = Verdict(BETTER, 0.78, 0.69, 0.88)
    assert effect("fd_pixel8", verdict) == "−22 %"
    assert effect_range("fd_pixel8", verdict) == "−31 % to −12 %"
    assert effect("fd_pixel8", Verdict(BETTER, 3.762)) == "×3.76"
    assert effect("recall_x", Verdict(BETTER, -0.0213)) == "−0.0213"
    assert effect("fd_pixel8", Verdict(TOO_FEW)) == effect("fd_pixel8", None) == effect_range("fd_pixel8", None) == ""


def test_a_verdict_has_a_sign_and_a_word_beside_its_colour() -> None:
    assert verdict_label(Verdict(BETTER)) == "✓ better" and css_class(Verdict(BETTER)) == "better"
    assert verdict_label(Verdict(EQUIVALENT, margin=0.1)) == "≈ equivalent within 10 %"
    assert css_class(Verdict(TOO_FEW)) == css_class(None) == "unknown"


def test_the_decision_rule_is_stated_only_if_something_was_tested() -> None:
    assert decision_rule({}) == decision_rule({"v2": Verdict(TOO_FEW)}) == ""
    text = decision_rule({"v2": Verdict(TOO_FEW), "v3": Verdict(NO_DIFFERENCE, p=0.2)})
    assert "at most 3 %" in text and "Holm" in text


def test_the_table_has_verdicts_and_estimates_of_every_metric(shared_project: Path) -> None:
    findings = collect(shared_project)
    table = VerdictTable.of(findings)
    v1, v3, v5, v7 = findings.versions
    assert table.verdict("fd_pixel8", v1) is None
    assert table.verdict("fd_pixel8", v3).word == TOO_FEW  # type: ignore[union-attr]
    assert "–" not in interval(table.estimate("fd_pixel8", v3)) and " to " in interval(table.estimate("fd_pixel8", v3))
    assert interval(table.estimate("fd_pixel8", v7)) == "", "one seed has no interval"
    assert table.estimate("fd_nothing", v5) is None
    for run in findings.runs:
        run.metrics.clear()
    unmeasured = VerdictTable.of(findings)
    assert unmeasured.verdict(findings.primary_metric, v3).word == "not measured"  # type: ignore[union-attr]
