from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.report.collect import collect, prune
from ganealogy.report.findings import Findings


def gap(findings: Findings, what: str) -> str:
    """Why it is missing and what would cure it."""
    found = [entry for entry in findings.gaps if entry.what == what]
    assert len(found) == 1, f"{what!r} not once among {[entry.what for entry in findings.gaps]}"
    return f"{found[0].why}; {found[0].cure}"


def edit(path: Path, **new: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


def test_what_the_stages_left(shared_project: Path) -> None:
    findings = collect(shared_project)
    assert [version.name for version in findings.listed] == ["v1", "v3", "v5", "v7"]
    assert findings.lead == "fd_pixel8"
    assert findings.metrics == [
        "fd_pixel8", "fd_effnet_lite0", "kid_effnet_lite0", "precision_effnet_lite0", "recall_effnet_lite0",
    ]  # fmt: skip
    v1 = findings.versions[0]
    one, other = v1.values("fd_pixel8").values()
    assert v1.mean("fd_pixel8") == pytest.approx((one * other) ** 0.5), "distances are averaged on the logarithm"
    assert v1.mean("kid_effnet_lite0") == pytest.approx(sum(v1.values("kid_effnet_lite0").values()) / 2)
    assert [child.name for child in v1.children] == ["v3", "v7"]
    assert [root.name for root in findings.roots] == ["v1"]
    assert str(findings.versions[1].changes[0]) == "adversary.loss.real_target 1 → 0.9"


def test_missing_and_diverged_are_said_with_their_reason(shared_project: Path) -> None:
    findings = collect(shared_project)
    assert gap(findings, "v7 seed 0") == "it has not been trained; dvc repro train@v7-0"
    assert "diverged at step 376: d_loss is NaN" in gap(findings, "v5 seed 1")
    assert "ganealogy fetch inception" in gap(findings, "fid: not measured")


def test_no_ranking_on_a_measure_that_is_worse_than_the_mean_image(shared_project: Path) -> None:
    findings = collect(shared_project)
    v1, v5 = findings.versions[0], findings.versions[2]
    assert findings.passed(v1, "fd_pixel8") is True
    assert findings.passed(v5, "fd_effnet_lite0") is False
    assert findings.passed(v1, "fid") is None


def test_a_share_is_not_held_against_the_mean_image(shared_project: Path) -> None:
    findings = collect(shared_project)
    findings.anchors["precision_effnet_lite0"] = {"mean_image": 0.1}
    assert findings.passed(findings.versions[0], "precision_effnet_lite0") is None


def test_best_and_last_clocks_flags_and_what_was_not_measured(shared_project: Path) -> None:
    findings = collect(shared_project)
    v1, v5 = findings.versions[0], findings.versions[2]
    best, last = v1.at_best_and_last("fd_pixel8")
    assert best == last == pytest.approx(sum(run.ticks[-1]["fd_pixel8"] for run in v1.runs) / 2)
    assert list(v1.runs[0].clocks()) == [0, 12, 24, 36, 48, 60]
    assert v1.runs[0].clocks()[60] == v1.runs[0].cost["seconds"]
    assert v1.raised == {} and list(v5.raised) == ["collapsed"]
    assert v5.runs[0].raised == {"collapsed_effnet_lite0": "2% of the reals' variance: below 5%"}
    assert v1.runs[0].ema is False and v1.fingerprint == "plan-v1"
    told = [entry for entry in findings.gaps if entry.what.startswith("fd_inf_effnet_lite0 of ")]
    assert len(told) == 1 and told[0].why == "not measured: needs 5120 samples, has 500"


@pytest.mark.parametrize("clocks", [None, [], [0, 1], "soon", [0, 1, 2, None, 4, float("nan")]])
def test_clocks_that_do_not_fit_the_ticks_are_none(project: Path, clocks: object) -> None:
    edit(project / "build/runs/v1-0/cost/train.json", tick_seconds=clocks)
    found = collect(project).versions[0].runs[0].clocks()
    assert found == ({0: 0, 12: 1, 24: 2, 48: 4} if isinstance(clocks, list) and len(clocks) == 6 else {})


def test_flags_and_reasons_of_another_shape_harm_nothing(project: Path) -> None:
    edit(project / "build/runs/v1-0/evaluate/metrics.json", flags=[1], not_measured="no", ema="yes", neighbours=None)
    run = collect(project).versions[0].runs[0]
    assert (run.flags, run.not_measured, run.ema, run.neighbours) == ({}, {}, None, False)


def test_without_a_plan_the_error_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="ganealogy plan"):
        collect(tmp_path)


def test_a_plan_and_nothing_else(project: Path) -> None:
    shutil.rmtree(project / "build/runs")
    shutil.rmtree(project / "data")
    findings = collect(project)
    assert {run.status for run in findings.runs} == {"missing"}
    assert findings.metrics == [] and findings.anchors == {}
    assert "dvc repro preprocess" in gap(findings, "facts of the dataset")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"steps": 3}', "\ufffd"])
def test_a_broken_record_is_a_gap(project: Path, content: str) -> None:
    (project / "build/runs/v1-0/train/run.json").write_text(content)
    findings = collect(project)
    assert findings.versions[0].runs[0].status == "broken"
    assert "train/run.json" in gap(findings, "v1 seed 0")


def test_broken_numbers_curves_and_clocks_are_gaps(project: Path) -> None:
    run = project / "build/runs/v1-0"
    (run / "train/metrics.jsonl").write_text('{"tick": 0, "kimg": 0}\n{"tick"')
    (run / "cost/train.json").write_text("nothing")
    (run / "evaluate/metrics.json").unlink()
    findings = collect(project)
    assert findings.versions[0].values("fd_pixel8").keys() == {1}
    assert "metrics.jsonl" in gap(findings, "curves of v1 seed 0")
    assert "cost/train.json" in gap(findings, "cost of v1 seed 0")
    assert gap(findings, "numbers of v1 seed 0").endswith("dvc repro evaluate@v1-0")


def test_a_number_that_is_not_finite_is_no_number(project: Path) -> None:
    path = project / "build/runs/v1-0/evaluate/metrics.json"
    path.write_text(path.read_text().replace('"metrics": {', '"metrics": {"fid": NaN, '))
    findings = collect(project)
    assert "fid" not in findings.metrics
    assert "not a finite number" in gap(findings, "fid of v1 seed 0")


def test_a_number_of_another_protocol_is_set_aside(project: Path) -> None:
    path = project / "build/runs/v1-0/evaluate/metrics.json"
    protocol = json.loads(path.read_text())["protocol"]
    protocol["fd_pixel8"]["fakes"] = 100
    edit(path, protocol=protocol)
    findings = collect(project)
    assert findings.versions[0].values("fd_pixel8").keys() == {1}
    assert findings.versions[0].values("kid_effnet_lite0").keys() == {0, 1}
    assert "fakes 100 where the others have 500" in gap(findings, "fd_pixel8 of v1 seed 0")


def test_another_fingerprint_is_another_protocol(project: Path) -> None:
    for path in (project / "build/runs").glob("*/evaluate/metrics.json"):
        content = json.loads(path.read_text())
        own = path.parts[-3] == "v1-0"
        for way in content["protocol"].values():
            way |= {"precision": "bf16" if own else "fp32", "fingerprint": "bbbb" if own else "aaaa"}
        path.write_text(json.dumps(content))
    findings = collect(project)
    assert findings.versions[0].values("fd_pixel8").keys() == {1}
    told = "precision bf16 where the others have fp32, fingerprint bbbb where the others have aaaa"
    assert told in gap(findings, "fd_pixel8 of v1 seed 0")


def test_a_run_of_another_plan_is_told(project: Path) -> None:
    edit(project / "build/plan/versions/v3.json", fingerprint="another")
    findings = collect(project)
    assert "dvc repro train@v3-0" in gap(findings, "v3 seed 0")


def test_prune_removes_what_the_plan_dropped_and_nothing_else(project: Path) -> None:
    runs = project / "build/runs"
    shutil.copytree(runs / "v1-0", runs / "v9-0")
    shutil.copytree(runs / "v1-0", runs / "v1-7")
    (runs / "notes").mkdir()
    (runs / "v8-0").symlink_to(project / "data", target_is_directory=True)
    assert prune(project) == ["v1-7", "v9-0"]
    assert {path.name for path in runs.iterdir()} >= {"v1-0", "v1-1", "v5-1", "v7-1", "notes", "v8-0"}
    assert (project / "data/packed/manifest.json").exists()
    assert prune(project) == []
