"""What the report says of versions that start from another training."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.five_seeds import METRIC, edit_tree, make_tree
from rich.console import Console

from ganealogy.report import as_json, markdown, page, pictures, terminal
from ganealogy.report.collect import collect
from ganealogy.report.compute import fairness
from ganealogy.report.outcome import outcome
from ganealogy.report.verdict_table import against_for, family, parents_of, verdicts_for
from ganealogy.verdicts.significance import NOT_COMPARED

ONE = "not compared: only one of them was trained from scratch"
MARK = "from v1 at 100 kimg, not trained from scratch"


def start(root: Path, **starts: dict[str, Any]) -> Path:
    """Let versions start from another training."""
    versions = json.loads((root / "build/plan/tree.json").read_text())["versions"]
    edit_tree(root, versions=[{**entry, "from": starts.get(entry["name"])} for entry in versions])
    return root


def source(version: str = "v1", kimg: float = 100, seed: str | int = "same") -> dict[str, Any]:
    return {"version": version, "seed": seed, "kimg": kimg, "flops": 5e12}


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def words(root: Path) -> dict[str, str]:
    return {name: verdict.label for name, verdict in verdicts_for(collect(root), METRIC).items()}


def test_a_fork_is_not_compared_with_a_version_from_scratch(seeded: Path) -> None:
    before = words(seeded)
    findings = collect(start(seeded, v5=source()))
    assert words(seeded) == {"v3": "better", "v5": ONE, "v7": "worse"} and before["v5"] == "equivalent within 10 %"
    assert verdicts_for(findings, METRIC)["v5"].effect is None
    assert parents_of(findings)["v5"] is None and "Family of 2 edges" in family(findings), "no seeds for it"


def test_two_forks_are_compared_if_they_start_alike(seeded: Path) -> None:
    assert words(start(seeded, v3=source(), v5=source()))["v5"] == "equivalent within 10 %"
    assert words(start(seeded, v3=source(), v5=source()))["v3"] == ONE
    other = "not compared: they start from different networks"
    for different in (source("v7"), source(kimg=50), source(seed=0)):
        assert words(start(seeded, v3=source(), v5=different))["v5"] == other


def test_what_is_not_compared_is_open_and_no_answer(seeded: Path) -> None:
    findings = collect(start(seeded, v5=source()))
    verdicts = verdicts_for(findings, METRIC)
    assert outcome(findings, verdicts).ideas == "Of 3 ideas, 1 helped, 1 harmed and 1 is open (not compared)"
    assert as_json.answer(verdicts["v5"], "better") is None


def test_against_a_named_version_it_has_no_verdict_either(seeded: Path) -> None:
    tree = json.loads((seeded / "build/plan/tree.json").read_text())
    edit_tree(seeded, evaluate={**tree["evaluate"], "against": ["v1"]})
    assert against_for(collect(start(seeded, v5=source())))["v1"]["v5"].word == NOT_COMPARED


def test_every_part_of_the_report_marks_it(seeded: Path) -> None:
    findings = collect(start(seeded, v5=source()))
    gallery = pictures.gather(findings)
    html, text = page.render(findings, gallery), markdown.render(findings, {})
    for whole in (html, text):
        assert MARK in whole and ONE in whole
    assert MARK not in page.render(collect(start(seeded)), gallery)
    console = Console(file=io.StringIO(), width=200)
    console.print(terminal.summary(seeded, 200))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"v5: {MARK}" not in printed
    start(seeded, v5=source())
    console.print(terminal.summary(seeded, 200))
    assert f"v5: {MARK}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_its_compute_includes_its_start_and_no_effect_at_equal_compute_is_given(seeded: Path) -> None:
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[{**entry, "flops": 1e6} for entry in versions])
    before = {version.name: version.training_flops for version in collect(seeded).listed}
    findings = collect(start(seeded, v5=source()))
    after = {version.name: version.training_flops for version in findings.listed}
    assert before["v5"] and after == {**before, "v5": before["v5"] + 5e12}
    assert fairness(findings, next(version for version in findings.listed if version.name == "v5")) is None


def test_a_damaged_start_is_none(seeded: Path) -> None:
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[{**entry, "from": "v1"} for entry in versions])
    assert not any(version.start or version.started for version in collect(seeded).listed)
