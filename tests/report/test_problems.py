"""Problems of a version, in short and long form."""

from __future__ import annotations

from pathlib import Path

from helpers.fabricated import edit

from ganealogy.report import markdown, second_opinions
from ganealogy.report.collect import collect
from ganealogy.report.problems import problems, reason_missing, worsened
from ganealogy.report.verdict_table import verdicts_for
from ganealogy.workspace import run_dir


def test_problems_are_short_in_the_tree_and_complete_in_the_table(shared_project: Path) -> None:
    findings = collect(shared_project)
    v5, v7 = findings.versions[2:]
    assert [(problem.short, problem.long) for problem in problems(v5)] == [
        ("seed 1 diverged", "seed 1 diverged at step 376: d_loss is NaN"),
        ("collapsed", "collapsed (seed 0): 2% of the reals' variance: below 5%"),
    ]
    assert [problem.short for problem in problems(v7)] == ["seed 0 missing"]
    v7.runs[0].status, v7.runs[0].reason, v7.runs[0].steps = "diverged", "at step 9: G's loss is Inf", 9
    assert problems(v7)[0].long == "seed 0 diverged at step 9: G's loss is Inf"
    assert reason_missing(v5, "fd_inf_effnet_lite0") == "needs 5120 samples, has 500"


def test_signs_in_the_training_name_seed_and_sentence_and_whether_they_ended(project: Path) -> None:
    sign = {"kimg": 12.0, "until": None, "sign": "collapse", "sentence": "collapse at 12 kimg: all alike"}
    edit(run_dir("v1", 0, project) / "train/run.json", health=[{**sign, "until": 24.0}])
    edit(run_dir("v1", 1, project) / "train/run.json", health=[sign])
    reason = "at step 376 of 940: collapse at 12 kimg: all alike"
    edit(run_dir("v3", 0, project) / "train/run.json", status="stopped", steps=376, reason=reason, health=[sign])
    findings = collect(project)
    v1, v3 = findings.versions[:2]
    assert [(problem.short, problem.long) for problem in problems(v1)] == [
        (
            "collapse while training (seeds 0, 1)",
            "collapse while training: seed 0: collapse at 12 kimg: all alike, until 24.0 kimg; "
            "seed 1: collapse at 12 kimg: all alike",
        )
    ]
    assert [problem.long for problem in problems(v3)] == [
        "seed 0 was stopped at step 376: collapse at 12 kimg: all alike"
    ], "the sentence once"
    text = markdown.render(findings, {})
    assert "*seed 0 was stopped*" in text and "collapse while training: seed 0: collapse at 12 kimg: all alike" in text


def test_a_training_that_became_worse_after_its_best() -> None:
    assert worsened(50, 151) and not worsened(50, 60) and not worsened(None, 60) and not worsened(0, 1)


def test_a_collapsed_parent_stands_beside_the_child_s_verdict(shared_project: Path) -> None:
    """v5 collapsed: a child that is better than it need not be good."""
    findings = collect(shared_project)
    child = next(version for version in findings.listed if version.name == "v3")
    assert second_opinions.collapsed_parents(findings, verdicts_for(findings, findings.primary_metric)) == {}
    child.parent = "v5"
    verdicts = verdicts_for(findings, findings.primary_metric)
    marks = second_opinions.marks(findings, verdicts)
    assert verdicts["v3"].effect is not None
    assert marks["v3"]["parent collapsed"] == "parent collapsed: v5 seed 0, by which a child looks better"
