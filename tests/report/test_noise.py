"""The report's section on noise, and where the choice of checkpoint decides."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.fabricated import edit, write
from helpers.five_seeds import FACTORS, METRIC, VALUES, edit_tree, make_tree

from ganealogy.report import markdown, noise, page, second_opinions, terminal
from ganealogy.report.collect import collect
from ganealogy.report.pictures import Gallery
from ganealogy.report.verdict_table import verdicts_for
from ganealogy.report.wording import figure
from ganealogy.workspace import NOISE, run_dir

SEEDS = range(5)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = make_tree(tmp_path)
    edit_tree(root, sample={"count": 500, "checkpoint": "last", "sets": 3, "temperature": 1.0, "walk_frames": 48})
    return root


def change(root: Path, version: str, seed: int, **new: object) -> None:
    edit(run_dir(version, seed, root) / "evaluate/metrics.json", **new)


def add_other(root: Path, factors: dict[str, float]) -> None:
    """Give each run a value at `best`: a factor of its value at `last`."""
    for version in VALUES:
        for seed, spread in zip(SEEDS, FACTORS[version], strict=True):
            metrics = {METRIC: VALUES[version] * spread * factors.get(version, 1.0)}
            change(root, version, seed, other={"checkpoint": "best", "step": 9, "kimg": 0.9, "metrics": metrics})


def add_sets(root: Path, version: str, *sets: float) -> None:
    """Give each run of a version sample sets: factors of its value."""
    for seed, spread in zip(SEEDS, FACTORS[version], strict=True):
        change(root, version, seed, repeats={METRIC: [VALUES[version] * spread * factor for factor in sets]})


def disagreements(root: Path) -> dict[str, str]:
    findings = collect(root)
    return second_opinions.checkpoints_disagree(findings, verdicts_for(findings, METRIC))


def test_other_values_can_be_judged_in_place_of_the_reported_ones(tree: Path) -> None:
    findings = collect(tree)
    assert verdicts_for(findings, METRIC)["v3"].word == "better"
    values = {name: {seed: 100.0 + seed for seed in SEEDS} for name in VALUES}
    assert verdicts_for(findings, METRIC, values)["v3"].effect == pytest.approx(1)


def test_an_edge_with_opposite_words_disagrees_with_both_numbers(tree: Path) -> None:
    add_other(tree, {"v3": 2.0})
    found = disagreements(tree)
    assert found == {
        "v3": "best and last disagree: +50 % ✗ worse by best, −25 % ✓ better by last"
    }  # v5 is open by last


def test_an_open_edge_disagrees_only_if_its_interval_is_on_the_other_side(tree: Path) -> None:
    findings = collect(tree)
    by_last = verdicts_for(findings, METRIC)
    add_other(tree, {"v3": 1.34})  # 200 against 201: no difference
    assert "v3" not in disagreements(tree) and by_last["v3"].word == "better"
    for seed in SEEDS[:4]:  # four seeds of best: too few for a word, and no interval
        change(tree, "v3", seed, other={})
    assert disagreements(tree) == {}


def test_equal_checkpoints_and_absent_ones_do_not_disagree(tree: Path) -> None:
    assert disagreements(tree) == {}
    add_other(tree, {})
    assert disagreements(tree) == {} and second_opinions.other_means(collect(tree)) == {}, (
        "equal numbers are not shown twice"
    )
    add_other(tree, {"v3": 1.01})
    assert second_opinions.other_means(collect(tree)).keys() == {"v3"}


def test_the_report_shows_both_checkpoints(tree: Path) -> None:
    add_other(tree, {"v3": 2.0})
    findings = collect(tree)
    html, text = page.render(findings, Gallery()), markdown.render(findings, {})
    assert "best and last disagree" in html
    assert "v3: best and last disagree" in "".join(str(part) for part in terminal.summary(tree, 80).renderables)
    assert f"by best: {figure(2 * findings.listed[1].mean(METRIC))}" in html
    assert "best and last disagree: +50 % ✗ worse by best, −25 % ✓ better by last" in text
    heading = next(line for line in text.splitlines() if line.startswith("| version"))
    assert "| by best |" in heading


def test_each_version_with_sets_has_a_row(tree: Path) -> None:
    add_sets(tree, "v1", 1.0, 1.02, 0.98)
    add_sets(tree, "v3", 1.0)
    row, *others = noise.components(collect(tree))
    assert not others and (row["version"], row["seeds × sets"]) == ("v1", "5 × 3")
    logs = [math.log(factor) for factor in (1.0, 1.02, 0.98)]
    within = sum((log - sum(logs) / 3) ** 2 for log in logs) / 2
    assert row["from sampling"] == f"{100 * math.sqrt(within):.3g} %"


def test_the_words_by_each_set_are_compared(tree: Path) -> None:
    assert noise.by_set(collect(tree)) == ""
    for version in VALUES:
        add_sets(tree, version, 1.0, 1.01)
    assert noise.by_set(collect(tree)) == "Judged by each of the 2 sample sets in turn, every edge keeps its word."
    add_sets(tree, "v3", 1.0, 1.33)
    text = noise.by_set(collect(tree))
    assert "would change: v3 (better, then " in text


def add_record(root: Path, **changes: object) -> None:
    findings = collect(root)
    write(root / "build/plan/versions/v1.json", {"fingerprint": "plan of v1"})
    write(root / "data/packed/manifest.json", {"dataset": "d" * 64})
    values = {"initialise": {"0": 100, "1": 150, "2": 70}, "order": {"0": 100, "1": 101, "2": 99}}
    protocol = findings.runs[0].protocols[METRIC]
    record = {"version": "v1", "runs": 3, "plan": "plan of v1", "data": "d" * 64, "lead": METRIC}
    write(root / NOISE, {**record, "protocol": protocol, "values": values, **changes})


def test_a_record_of_the_present_plan_is_shown(tree: Path) -> None:
    add_record(tree)
    section = noise.section(collect(tree))
    assert [row["varied"] for row in section["draws"]] == ["initial weights", "order of the batches"]
    assert section["draws_sentence"].startswith("Most comes from the initial weights") and not section["command"]
    assert "initial weights" in markdown.render(collect(tree), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": "another"},
        {"data": "another"},
        {"lead": "fd_other"},
        {"protocol": {"fakes": 7}},
        {"version": "v99"},
        {"values": None},
        {"values": {"order": [1, 2]}},
        {"values": {"order": {"0": "a", "1": 2}}},
        {"values": {"order": {"0": 1}}},
    ],
)
def test_a_record_of_another_plan_is_not_shown(tree: Path, changes: dict[str, object]) -> None:
    add_record(tree, **changes)
    section = noise.section(collect(tree))
    assert not section["draws"] and section["command"] == "ganealogy noise v1"
    assert "ganealogy noise v1" in page.render(collect(tree), Gallery())


def test_a_damaged_record_is_not_shown(tree: Path) -> None:
    (tree / NOISE).parent.mkdir(parents=True)
    (tree / NOISE).write_text(json.dumps({"version": "v1"})[:-3])
    assert collect(tree).noise == {}
