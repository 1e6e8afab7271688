"""Verdicts for findings, and how page, Markdown and terminal show them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.five_seeds import (
    FACTORS,
    METRIC,
    SPREAD,
    VALUES,
    add_run,
    edit_tree,
    make_tree,
    plan_seeds,
    remove_metrics,
)

from ganealogy.report import markdown, page, pictures
from ganealogy.report.collect import collect
from ganealogy.report.verdict_table import (
    VerdictTable,
    bundle,
    contrasts,
    css_class,
    decision_rule,
    effect,
    effect_range,
    estimates_for,
    family,
    interval,
    no_interval,
    trained,
    verdict_label,
    verdicts_for,
)
from ganealogy.verdicts.estimates import estimate
from ganealogy.verdicts.significance import (
    BETTER,
    BETTER_SURVIVORS,
    DIVERGES_LESS,
    DIVERGES_MORE,
    EQUIVALENT,
    NO_DIFFERENCE,
    TOO_FEW,
    Verdict,
    verdicts,
)
from ganealogy.workspace import run_dir

PARENTS = {"v1": None, "v3": "v1", "v5": "v3", "v7": "v1"}


def by_seed() -> dict[str, dict[int, float]]:
    return {name: {seed: VALUES[name] * factor for seed, factor in enumerate(FACTORS[name])} for name in VALUES}


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def test_findings_become_verdicts(seeded: Path) -> None:
    results = verdicts_for(collect(seeded), METRIC)
    assert {name: verdict.label for name, verdict in results.items()} == {
        "v3": "better",
        "v5": "equivalent within 10 %",
        "v7": "worse",
    }
    assert results == verdicts(METRIC, by_seed(), PARENTS, margin=0.1, gate=473.0)
    assert "Holm over 3 edges" in results["v3"].why


def test_values_of_another_checkpoint_have_verdicts_too(seeded: Path) -> None:
    findings = collect(seeded)
    last = by_seed() | {"v5": {seed: 2 * value for seed, value in by_seed()["v5"].items()}}
    assert verdicts_for(findings, METRIC, last)["v5"].word == "worse"
    assert verdicts_for(findings, METRIC, by_seed()) == verdicts_for(findings, METRIC)
    assert verdicts_for(findings, METRIC, {})["v5"].word == "not measured"


def test_the_gate_is_the_anchor_of_25_repeated_pictures(seeded: Path) -> None:
    path = seeded / "data/reference/anchors.json"
    path.write_text(json.dumps({"metrics": {METRIC: {"mean_image": 10.0, "rep25": 151.0}}}))
    words = {name: verdict.word for name, verdict in verdicts_for(collect(seeded), METRIC).items()}
    assert words == {"v3": "better", "v5": "equivalent", "v7": "not yet"}, "both sides of v7's edge are behind it"
    path.write_text(json.dumps({"metrics": {METRIC: {"mean_image": 10.0}}}))
    assert verdicts_for(collect(seeded), METRIC)["v7"].word == "worse", "without the anchor there is no gate"


def test_a_diverged_run_is_lost_also_if_it_was_measured(seeded: Path) -> None:
    for seed in range(5):
        run = run_dir("v3", seed, seeded) / "train/run.json"
        run.write_text(json.dumps(json.loads(run.read_text()) | {"status": "diverged", "reason": "NaN"}))
    results = verdicts_for(collect(seeded), METRIC)
    assert results["v3"].word == "diverges more often" and "lost: 5 of 5 seeds of v3" in results["v3"].why
    assert results["v5"].word == "diverges less often"


def test_a_stopped_run_counts_as_it_was_measured(seeded: Path) -> None:
    """A training that ended at a sign of trouble is a result: no loss, and no seed without a result."""
    before = verdicts_for(collect(seeded), METRIC)
    for seed in range(5):
        run = run_dir("v3", seed, seeded) / "train/run.json"
        run.write_text(json.dumps(json.loads(run.read_text()) | {"status": "stopped", "reason": "at step 9: collapse"}))
    findings = collect(seeded)
    assert verdicts_for(findings, METRIC) == before
    assert all(len(version.unfinished) == 0 for version in findings.listed if version.name == "v3")
    assert not [gap for gap in findings.gaps if "v3" in gap.what and "stopped" in gap.why]


def test_copies_give_no_word(seeded: Path) -> None:
    path = run_dir("v3", 2, seeded) / "evaluate/metrics.json"
    flag = {"flag": True, "why": "copies"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"flags": {"memorised_pixel8": flag}}))
    results = verdicts_for(collect(seeded), METRIC)
    assert results["v3"].label == results["v5"].label == "no word: v3 copies training pictures"
    assert results["v7"].word == "worse"


def test_the_equivalence_margin_comes_from_the_plan(seeded: Path) -> None:
    edit_tree(seeded, evaluate={"equivalence_margin": 0.02})
    assert verdicts_for(collect(seeded), METRIC)["v5"].word == "no difference shown"
    edit_tree(seeded, evaluate={"equivalence_margin": 0.1})
    assert verdicts_for(collect(seeded), METRIC)["v5"].word == "equivalent"


def test_settings_of_the_report_change_no_stage_plan() -> None:
    from ganealogy.params.schema import load
    from ganealogy.stages.plan import stage_plans

    settings = load()
    other = settings.evaluate.model_copy(update={"equivalence_margin": 0.3, "against": ["v1"]})
    assert stage_plans(settings.model_copy(update={"evaluate": other})) == stage_plans(settings)


def test_unlisted_parents_are_not_compared(seeded: Path) -> None:
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[entry | {"listed": entry["name"] != "v3"} for entry in versions])
    results = verdicts_for(collect(seeded), METRIC)
    assert "v3" not in results and "parent v3 is not among" in results["v5"].why
    assert results["v5"].word == "not measured" and "Holm over 1 edge," in results["v7"].why
    assert verdicts_for(collect(seeded), "fid")["v7"].word == "not measured"


def test_seeds_count_up_to_the_first_without_a_result(seeded: Path) -> None:
    plan_seeds(seeded, [0, 1, 2, 3, 4], v3=[5, 6, 7], v5=[5, 6, 7])
    for version in ("v3", "v5"):
        for seed in (5, 6, 7):
            add_run(seeded, version, seed, 1 + seed / 100)
    assert "8 pairs of seeds" in verdicts_for(collect(seeded), METRIC)["v5"].why
    remove_metrics(seeded, "v5", 6)
    findings = collect(seeded)
    assert list(trained(findings, METRIC)["v5"]) == [0, 1, 2, 3, 4, 5]
    why = verdicts_for(findings, METRIC)["v5"].why
    assert "5 pairs of seeds, the first 5 of 6" in why and why.endswith("; no result yet: seed 6 of v5")
    remove_metrics(seeded, "v5", 3)
    result = verdicts_for(collect(seeded), METRIC)["v5"]
    assert result.word == "too few seeds" and "4 seeds of both v5 and v3" in result.why
    assert "seed 3 of v5" in result.why
    estimates = estimates_for(collect(seeded), METRIC)
    assert [len(estimates[name].values) for name in VALUES] == [5, 8, 6, 5], "estimates use every value"


def test_contrasts_against_a_named_version(seeded: Path) -> None:
    edit_tree(seeded, evaluate={"extractors": ["pixel8"], "equivalence_margin": 0.1, "against": ["v1", "v7"]})
    findings = collect(seeded)
    assert contrasts(findings) == {"v1": {"v5": "v1"}, "v7": {"v1": "v7", "v3": "v7", "v5": "v7"}}
    against = VerdictTable.of(findings).against
    assert {name: verdict.word for name, verdict in against["v7"].items()} == dict.fromkeys(
        ("v1", "v3", "v5"), "better"
    )
    assert "Holm over 1 edge," in against["v1"]["v5"].why and "Holm over 3 edges" in against["v7"]["v5"].why
    html, text = page.render(findings, pictures.gather(findings)), markdown.render(findings, {})
    assert "<h3>Against v1</h3>" in html and "<h3>Against v7</h3>" in html and "### Against named versions" in text
    assert re.search(r"\| v5 +\| v1 +\| −24 % ✓ better", text)
    edit_tree(seeded, evaluate={"extractors": ["pixel8"]})
    assert "Against" not in markdown.render(collect(seeded), {}).replace("Against its", "")


def test_the_family_and_what_it_leaves_out_are_stated(seeded: Path) -> None:
    assert re.fullmatch(
        r"Family of 3 edges\. Seed correlation of children with parents: −?0\.\d\d\.", family(collect(seeded))
    )
    edit_tree(seeded, left_out=["v2", "v9"])
    findings = collect(seeded)
    line = "Family of 3 edges; 2 versions of the tree are left out: v2, v9."
    assert line in page.render(findings, pictures.gather(findings)) and line in markdown.render(findings, {})
    assert line in family(findings)


def test_bundles_are_named_beside_the_verdict(seeded: Path) -> None:
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    two = {"adversary": {"loss": {"name": "hinge"}}, "latent": {"size": 64}}
    entries = [entry | ({"changes": two, "recipe": two} if entry["name"] == "v3" else {}) for entry in versions]
    edit_tree(seeded, versions=entries)
    findings = collect(seeded)
    assert [bundle(version) for version in findings.versions] == ["", "bundle of 2 changes", "", ""]
    html, text = page.render(findings, pictures.gather(findings)), markdown.render(findings, {})
    assert html.count("bundle of 2 changes") == 3 and text.count("✓ better, bundle of 2 changes") == 3


def test_other_metrics_have_numbers_without_words(seeded: Path) -> None:
    for version in VALUES:
        for seed in range(5):
            path = run_dir(version, seed, seeded) / "evaluate/metrics.json"
            record = json.loads(path.read_text())
            record["metrics"]["kid_pixel8"] = {"v1": 0.2, "v3": 0.9}.get(version, 0.1) + seed / 1000
            path.write_text(json.dumps(record))
    findings = collect(seeded)
    html, text = page.render(findings, pictures.gather(findings)), markdown.render(findings, {})
    assert "kid_pixel8" in html and html.count("✗ worse") == html.count('class="verdict worse"') == 4, "v7 alone"
    assert text.count("✗ worse") == 3


def test_versions_without_values_have_no_estimate(seeded: Path, shared_project: Path) -> None:
    estimates = estimates_for(collect(seeded), METRIC)
    assert list(estimates) == list(VALUES) and estimates["v1"].values == tuple(200 * factor for factor in SPREAD)
    assert estimates["v1"].low is not None and estimates["v1"].low < estimates["v1"].mean < 200
    assert estimates_for(collect(shared_project), METRIC)["v7"].low is None
    assert estimates_for(collect(seeded), "fid") == {}


def test_page_and_markdown_state_the_decision_rule(seeded: Path, shared_project: Path) -> None:
    text = (
        "at most 4 %; then at most one tree in twenty without any difference shows one. All intervals of the tree hold"
    )
    for directory, tested in ((seeded, True), (shared_project, False)):
        findings = collect(directory)
        assert (text in page.render(findings, pictures.gather(findings))) is tested
        assert (text in markdown.render(findings, {})) is tested


def test_effects_are_percentages_of_distances_and_differences_of_other_metrics() -> None:
    verdict = Verdict(BETTER, 0.78, 0.69, 0.88)
    assert effect("fd_pixel8", verdict) == "−22 %"
    assert effect_range("fd_pixel8", verdict) == "−31 % to −12 %"
    assert effect("fd_pixel8", Verdict(BETTER, 3.762)) == "×3.76"
    assert effect("kid_x", Verdict(BETTER, -0.0213)) == "−0.0213"
    assert effect("fd_pixel8", Verdict(TOO_FEW)) == effect("fd_pixel8", None) == effect_range("fd_pixel8", None) == ""


def test_a_verdict_has_a_sign_and_a_word_beside_its_colour() -> None:
    assert verdict_label(Verdict(BETTER)) == "✓ better" and css_class(Verdict(BETTER)) == "better"
    assert verdict_label(Verdict(EQUIVALENT, detail=" within 10 %")) == "≈ equivalent within 10 %"
    survivors = Verdict(BETTER_SURVIVORS, detail=" (5 of 8)")
    assert verdict_label(survivors) == "better where it survived (5 of 8)" and css_class(survivors) == "unknown"
    assert verdict_label(Verdict(DIVERGES_MORE)) == "✗ diverges more often"
    assert css_class(Verdict(DIVERGES_MORE)) == "worse" and css_class(Verdict(DIVERGES_LESS)) == "better"
    assert css_class(Verdict(TOO_FEW)) == css_class(None) == "unknown"


def test_the_decision_rule_is_stated_only_if_something_was_tested() -> None:
    assert decision_rule({}) == decision_rule({"v2": Verdict(TOO_FEW)}) == ""
    text = decision_rule({"v2": Verdict(TOO_FEW), "v3": Verdict(NO_DIFFERENCE, p=0.2)})
    assert "at most 4 %" in text and "5, 8, 12, 20 and 40 seeds" in text


def test_the_table_has_verdicts_and_estimates(shared_project: Path) -> None:
    findings = collect(shared_project)
    table = VerdictTable.of(findings)
    v1, v3, v5, v7 = findings.versions
    assert table.verdict(v1) is None and table.against == {}
    assert table.verdict(v3).word == TOO_FEW  # type: ignore[union-attr]
    assert " to " in interval(table.estimate("fd_pixel8", v3)) and no_interval(table.estimate("fd_pixel8", v3)) == ""
    alone = table.estimate("fd_pixel8", v7)
    assert interval(alone) == "" and no_interval(alone) == "one seed"
    assert no_interval(estimate("precision_x", [0.0, 0.0])) == "all seeds equal"
    assert table.estimate("fd_nothing", v5) is None and no_interval(None) == ""
    for run in findings.runs:
        run.metrics.clear()
        run.status = "missing"
    assert VerdictTable.of(findings).verdict(v3).word == "not measured"  # type: ignore[union-attr]
