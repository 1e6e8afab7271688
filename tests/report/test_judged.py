from __future__ import annotations

from pathlib import Path

from ganealogy.report.collect import collect
from ganealogy.report.judged import Judged, effect, effect_range, interval, rule, standing, word
from ganealogy.report.troubles import troubles, why_none, worsened
from ganealogy.verdicts.significance import BETTER, NO_DIFFERENCE, TOO_FEW, UNHARMED, Verdict


def test_effects_read_as_shares_of_a_distance_and_as_differences_elsewhere() -> None:
    verdict = Verdict(BETTER, 0.78, 0.69, 0.88)
    assert effect("fd_pixel8", verdict) == "−22 %"
    assert effect_range("fd_pixel8", verdict) == "−31 % to −12 %"
    assert effect("fd_pixel8", Verdict(BETTER, 3.762)) == "×3.76"
    assert effect("recall_x", Verdict(BETTER, -0.0213)) == "−0.0213"
    assert effect("fd_pixel8", Verdict(TOO_FEW)) == effect("fd_pixel8", None) == effect_range("fd_pixel8", None) == ""


def test_a_verdict_is_a_sign_and_a_word_not_only_a_colour() -> None:
    assert word(Verdict(BETTER)) == "✓ better" and standing(Verdict(BETTER)) == "better"
    assert word(Verdict(UNHARMED, margin=0.1)) == "≈ equivalent within 10 %"
    assert standing(Verdict(TOO_FEW)) == standing(None) == "unknown"


def test_the_rule_is_told_once_something_was_tested() -> None:
    assert rule({}) == rule({"v2": Verdict(TOO_FEW)}) == ""
    told = rule({"v2": Verdict(TOO_FEW), "v3": Verdict(NO_DIFFERENCE, p=0.2)})
    assert "at most 3 %" in told and "Holm" in told


def test_every_metric_is_judged_once(shared_project: Path) -> None:
    findings = collect(shared_project)
    judged = Judged.of(findings)
    v1, v3, v5, v7 = findings.versions
    assert judged.verdict("fd_pixel8", v1) is None
    assert judged.verdict("fd_pixel8", v3).word == TOO_FEW  # type: ignore[union-attr]
    assert "–" not in interval(judged.estimate("fd_pixel8", v3)) and " to " in interval(
        judged.estimate("fd_pixel8", v3)
    )
    assert interval(judged.estimate("fd_pixel8", v7)) == "", "one seed has no interval"
    assert judged.estimate("fd_nothing", v5) is None


def test_troubles_are_short_for_the_tree_and_whole_for_the_table(shared_project: Path) -> None:
    findings = collect(shared_project)
    v5, v7 = findings.versions[2:]
    assert [(line.short, line.long) for line in troubles(v5)] == [
        ("seed 1 diverged", "seed 1 diverged at step 376: d_loss is NaN"),
        ("collapsed", "collapsed (seed 0): 2% of the reals' variance: below 5%"),
    ]
    assert [line.short for line in troubles(v7)] == ["seed 0 missing"]
    v7.runs[0].status, v7.runs[0].reason, v7.runs[0].steps = "diverged", "at step 9: G's loss is Inf", 9
    assert troubles(v7)[0].long == "seed 0 diverged at step 9: G's loss is Inf"
    assert why_none(v5, "fd_inf_effnet_lite0") == "needs 5120 samples, has 500"


def test_a_training_that_fell_back_after_its_best() -> None:
    assert worsened(50, 151) and not worsened(50, 60) and not worsened(None, 60) and not worsened(0, 1)
