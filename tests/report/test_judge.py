"""What the report says of its leading metric: what fools it, the milestone, and second opinions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.five_seeds import FACTORS, METRIC, edit_tree, make_tree

from ganealogy.report import judge, markdown, page, pictures, second_opinions, terminal
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Run, Version
from ganealogy.workspace import run_dir

LEAD, OPINION = "fd_layout_edges_32_64", "swd"
ANCHORS = {"floor": 0.05, "gaussian": 0.14, "rep100": 0.21, "rep25": 0.9, "mean_image": 1.2}
BATTERY = {"copies": 0.03, "shuffled": 0.45, "half_one": 0.29, "noise25": 0.31}


def version(name: str, parent: str | None, index: int, **metrics: list[float]) -> Version:
    made = Version(name, name, "", "", "", parent, True, index, [], {}, {}, False, list(range(5)))
    made.runs = [Run(name, seed, run_dir(name, seed), "finished") for seed in made.seeds]
    for metric, values in metrics.items():
        for run, value in zip(made.runs, values, strict=False):
            run.metrics[metric] = value
    return made


def findings(*versions: Version, battery: dict[str, float] | None = None) -> Findings:
    evaluate = {"lead": LEAD, "extractors": ["layout_edges_32_64", "pixel8", "pictures", "effnet_lite0_64"]}
    tables = {LEAD: BATTERY if battery is None else battery, OPINION: {"shuffled": 60.0}}
    described = {name: f"described {name}" for name in (*ANCHORS, *BATTERY)}
    return Findings(
        Path(), list(versions), {}, {}, {}, evaluate, {}, {LEAD: ANCHORS, OPINION: {}}, described, [], tables
    )


def around(value: float) -> list[float]:
    return [value * factor for factor in (0.9, 0.95, 1.0, 1.05, 1.1)]


PARENT = version("v1", None, 0, fd_layout_edges_32_64=around(0.4), swd=around(60.0))


def test_sets_ahead_of_the_best_version_are_named_and_only_those_that_look_worse_count() -> None:
    found = findings(PARENT, version("v2", "v1", 1, fd_layout_edges_32_64=around(0.3)))
    ahead = {member.name for member in judge.members(found) if member.ahead}
    assert ahead == {"copies", "floor", "gaussian", "rep100", "half_one"}
    text = " ".join(judge.verdict_on_the_judge(found))
    assert "half one looks worse and lies ahead of v2" in text and "copies" not in text and "Blind" not in text


def test_a_metric_that_puts_a_degraded_set_on_the_floor_is_called_blind() -> None:
    text = " ".join(
        judge.verdict_on_the_judge(findings(PARENT, battery={"shuffled": 0.05, "flat": 0.06, "blur2": 0.5}))
    )
    assert text.startswith("Blind on this data: shuffled and flat are as near as held-out reals")
    assert "lie ahead" not in text


def test_a_battery_that_nothing_passes_is_said_to_hold() -> None:
    text = " ".join(judge.verdict_on_the_judge(findings(PARENT, battery={"shuffled": 0.8, "blur2": 0.5})))
    assert "No degraded set that looks worse than v1 lies ahead of it." in text


@pytest.mark.parametrize(("value", "said"), [(0.3, "No version has passed the Gaussian"), (0.1, "v1 has passed the")])
def test_the_milestone_is_the_gaussian(value: float, said: str) -> None:
    found = findings(version("v1", None, 0, fd_layout_edges_32_64=[value] * 5))
    assert said in " ".join(judge.verdict_on_the_judge(found))


@pytest.mark.parametrize(("count", "marked"), [(499, True), (500, False)])
def test_fewer_than_500_samples_are_marked(count: int, marked: bool) -> None:
    found = findings(PARENT)
    found.sample["count"] = count
    assert ("Measured on 499 samples only" in " ".join(judge.verdict_on_the_judge(found))) is marked


def test_page_markdown_and_summary_mark_edges_on_which_judges_disagree(tmp_path: Path) -> None:
    """v3 is better than v1 by the leading fd_pixel8, and worse by swd."""
    root = make_tree(tmp_path)
    edit_tree(root, evaluate={"extractors": ["pixel8", "pictures"], "lead": METRIC, "reals": 2000})
    for name, centre in (("v1", 50.0), ("v3", 70.0), ("v5", 70.0), ("v7", 80.0)):
        for seed, factor in enumerate(FACTORS[name]):
            path = run_dir(name, seed, root) / "evaluate/metrics.json"
            record = json.loads(path.read_text())
            record["metrics"]["swd"] = centre * factor
            path.write_text(json.dumps(record))
    found = collect(root)
    assert second_opinions.judges_disagree(found) == {"v3": "judges disagree: swd points the other way"}
    html, text = page.render(found, pictures.gather(found)), markdown.render(found, {})
    assert ">judges disagree</span>" in html and "**judges disagree: swd points the other way**" in text
    assert "v3: judges disagree" in "".join(str(part) for part in terminal.summary(root, 80).renderables)


def test_nothing_measured_gives_no_sentence_and_no_chart() -> None:
    found = findings(version("v1", None, 0))
    assert judge.verdict_on_the_judge(found) == [] and not judge.chart(found)


def test_second_opinions_are_one_per_other_extractor_without_pixel8() -> None:
    both = {"fd_effnet_lite0_64": [1.0], "fd_w64_effnet_lite0_64": [1.0], "fd_pixel8": [1.0]}
    found = findings(version("v1", None, 0, fd_layout_edges_32_64=[0.4], swd=[60.0], **both))
    assert second_opinions.opinions(found) == ["swd", "fd_w64_effnet_lite0_64"]


@pytest.mark.parametrize(
    ("lead", "opinion", "expected"),
    [
        (0.3, around(80.0), ["swd"]),  # better by the lead, worse by the other
        (0.5, around(40.0), ["swd"]),
        (0.3, around(50.0), []),
        (0.3, [30.0, 100.0, 60.0, 90.0, 50.0], []),  # the other way, within its spread
    ],
)
def test_judges_disagree_beyond_the_spread_over_seeds(lead: float, opinion: list[float], expected: list[str]) -> None:
    child = version("v2", "v1", 1, fd_layout_edges_32_64=around(lead), swd=opinion)
    assert second_opinions._pointing_away(findings(PARENT, child), child, PARENT) == expected


def test_only_seeds_of_both_versions_are_compared() -> None:
    child = version("v2", "v1", 1, fd_layout_edges_32_64=around(0.3), swd=around(80.0)[:2])
    assert second_opinions._pointing_away(findings(PARENT, child), child, PARENT) == []


def test_the_part_that_binds() -> None:
    assert judge.binding(version("v1", None, 0, fd_layout_32=[0.2], fd_edges_64=[0.3])) == "edges"
    assert judge.binding(version("v1", None, 0, fd_layout_32=[0.4], fd_edges_64=[0.3])) == "layout"
    assert judge.binding(PARENT) == ""


def test_the_chart_is_logarithmic_with_a_dot_per_seed_and_a_line_per_anchor() -> None:
    svg = str(judge.chart(findings(PARENT, version("v2", "v1", 1, fd_layout_edges_32_64=around(0.2)))))
    assert svg.count("<circle") == 10
    lines = {
        name: float(x) for x, name in re.findall(r'x="([\d.]+)" y="\d+" text-anchor="middle">([\d a-zA-Z]+)<', svg)
    }
    assert lines.keys() >= {"reals", "Gaussian", "100 repeated", "25 repeated"}
    ratio = (lines["25 repeated"] - lines["reals"]) / (lines["Gaussian"] - lines["reals"])
    assert ratio == pytest.approx(2.807, abs=0.01)  # log(0.9 / 0.05) / log(0.14 / 0.05)


@pytest.mark.parametrize("metric", [LEAD, "fd_pixel8", "swd", "fid", "kid_effnet_lite0", "fd_w64_effnet_lite0_64"])
def test_every_distance_is_described_in_two_or_three_sentences(metric: str) -> None:
    assert 2 <= judge.describe(metric).count(". ") + 1 <= 3
