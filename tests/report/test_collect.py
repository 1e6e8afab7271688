from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.fabricated import fabricate_run

from ganealogy.errors import GanealogyError
from ganealogy.report.collect import collect, prune
from ganealogy.report.findings import Findings, Gap
from ganealogy.runs import store
from ganealogy.workspace import run_dir


def gap(findings: Findings, what: str) -> str:
    """Return the reason and the hint of the one gap with this name."""
    gaps = [entry for entry in findings.gaps if entry.what == what]
    assert len(gaps) == 1, f"{what!r} not exactly once in {[entry.what for entry in findings.gaps]}"
    return f"{gaps[0].why}; {gaps[0].hint}"


def edit(path: Path, **new: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


def test_all_results_are_collected(shared_project: Path) -> None:
    findings = collect(shared_project)
    assert [version.name for version in findings.listed] == ["v1", "v3", "v5", "v7"]
    assert findings.primary_metric == "fd_pixel8"
    assert findings.metrics == [
        "fd_pixel8", "fd_effnet_lite0", "kid_effnet_lite0", "precision_effnet_lite0", "recall_effnet_lite0",
    ]  # fmt: skip
    v1 = findings.versions[0]
    one, other = v1.values("fd_pixel8").values()
    assert v1.mean("fd_pixel8") == pytest.approx((one * other) ** 0.5), "distances are averaged on the logarithm"
    assert v1.mean("kid_effnet_lite0") == pytest.approx(sum(v1.values("kid_effnet_lite0").values()) / 2)
    assert [child.name for child in v1.children] == ["v3", "v7"]
    assert [root.name for root in findings.roots] == ["v1"]
    assert str(findings.versions[1].changes[0]) == "adversary.loss.real_target 1.0 → 0.9"


def test_missing_and_diverged_runs_are_gaps_with_a_reason(shared_project: Path) -> None:
    findings = collect(shared_project)
    assert gap(findings, "v7 seed 0") == "it has not been trained; dvc repro train@v7"
    assert "diverged at step 376: d_loss is NaN" in gap(findings, "v5 seed 1")
    assert "ganealogy fetch inception" in gap(findings, "fid: not measured")


def test_why_fid_is_not_measured_is_named_once(project: Path) -> None:
    reason = "Inception's weights are not on this machine; run `x`"
    for path in project.glob("build/runs/*/evaluate/*/metrics.json"):
        edit(path, not_measured={"fid": reason})
    assert [each for each in collect(project).gaps if "fid" in each.what] == [Gap("fid: not measured", reason)]


def test_a_version_must_pass_the_gate_by_the_primary_metric_and_the_mean_image_by_others(shared_project: Path) -> None:
    findings = collect(shared_project)
    v1, v5 = findings.versions[0], findings.versions[2]
    assert findings.gate == 391.0
    assert findings.passes_anchor(v1, "fd_pixel8") is True and findings.passes_anchor(v5, "fd_pixel8") is True
    findings.anchors["fd_pixel8"]["rep25"] = 300.0
    assert findings.passes_anchor(v5, "fd_pixel8") is False and findings.passes_anchor(v1, "fd_pixel8") is True
    assert findings.passes_anchor(v1, "fd_effnet_lite0") is None or findings.passes_anchor(v1, "kid_effnet_lite0")
    assert findings.passes_anchor(v5, "fd_effnet_lite0") is False
    assert findings.passes_anchor(v1, "fid") is None


def test_only_distances_are_compared_with_the_mean_image(shared_project: Path) -> None:
    findings = collect(shared_project)
    findings.anchors["precision_effnet_lite0"] = {"mean_image": 0.1}
    assert findings.passes_anchor(findings.versions[0], "precision_effnet_lite0") is None


def test_best_and_last_times_flags_and_unmeasured_metrics(shared_project: Path) -> None:
    findings = collect(shared_project)
    v1, v5 = findings.versions[0], findings.versions[2]
    best, last = v1.best_and_last("fd_pixel8")
    assert best == last == pytest.approx(sum(run.ticks[-1]["fd_pixel8"] for run in v1.runs) / 2)
    assert list(v1.runs[0].tick_seconds()) == [0, 12, 24, 36, 48, 60]
    assert v1.runs[0].tick_seconds()[60] == v1.runs[0].cost["seconds"]
    assert v1.flagged == {} and list(v5.flagged) == ["collapsed"]
    assert v5.runs[0].flag_reasons == {"collapsed_effnet_lite0": "2% of the reals' variance: below 5%"}
    assert v1.runs[0].ema is False and v1.fingerprint == "plan-v1"
    entries = [entry for entry in findings.gaps if entry.what.startswith("fd_inf_effnet_lite0 of ")]
    assert len(entries) == 1 and entries[0].why == "not measured: needs 5120 samples, has 500"


@pytest.mark.parametrize("seconds", [None, [], [0, 1], "soon", [0, 1, 2, None, 4, float("nan")]])
def test_times_that_do_not_match_the_ticks_are_ignored(project: Path, seconds: object) -> None:
    edit(project / "build/runs/v1/cost/train/0.json", tick_seconds=seconds)
    times = collect(project).versions[0].runs[0].tick_seconds()
    assert times == ({0: 0, 12: 1, 24: 2, 48: 4} if isinstance(seconds, list) and len(seconds) == 6 else {})


def test_flags_and_reasons_of_a_wrong_type_are_ignored(project: Path) -> None:
    edit(project / "build/runs/v1/evaluate/0/metrics.json", flags=[1], not_measured="no", ema="yes", neighbours=None)
    run = collect(project).versions[0].runs[0]
    assert (run.flags, run.not_measured, run.ema, run.neighbours) == ({}, {}, None, False)


def test_without_a_plan_the_error_gives_the_command(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="ganealogy plan"):
        collect(tmp_path)


def test_a_plan_without_results(project: Path) -> None:
    shutil.rmtree(project / "build/runs")
    shutil.rmtree(project / "data")
    findings = collect(project)
    assert {run.status for run in findings.runs} == {"missing"}
    assert findings.metrics == [] and findings.anchors == {}
    assert "dvc repro preprocess" in gap(findings, "description of the data set")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"steps": 3}', "\ufffd"])
def test_a_broken_run_record_is_a_gap(project: Path, content: str) -> None:
    (project / "build/runs/v1/train/0/run.json").write_text(content)
    findings = collect(project)
    assert findings.versions[0].runs[0].status == "broken"
    assert "train/run.json" in gap(findings, "v1 seed 0")


def test_broken_metrics_curves_and_costs_are_gaps(project: Path) -> None:
    run = run_dir("v1", 0, project)
    (run / "train/metrics.jsonl").write_text('{"tick": 0, "kimg": 0}\n{"tick"')
    run.costs["train"].write_text("nothing")
    (run / "evaluate/metrics.json").unlink()
    findings = collect(project)
    assert findings.versions[0].values("fd_pixel8").keys() == {1}
    assert "metrics.jsonl" in gap(findings, "curves of v1 seed 0")
    assert gap(findings, "cost of v1 seed 0").startswith("build/runs/v1/cost/train/0.json: "), "no path of this machine"
    assert gap(findings, "numbers of v1 seed 0").endswith("dvc repro evaluate@v1")


def test_a_value_that_is_not_finite_is_a_gap(project: Path) -> None:
    path = project / "build/runs/v1/evaluate/0/metrics.json"
    path.write_text(path.read_text().replace('"metrics": {', '"metrics": {"fid": NaN, '))
    findings = collect(project)
    assert "fid" not in findings.metrics
    assert "not a finite number" in gap(findings, "fid of v1 seed 0")


def test_a_value_of_another_protocol_is_excluded(project: Path) -> None:
    path = project / "build/runs/v1/evaluate/0/metrics.json"
    protocol = json.loads(path.read_text())["protocol"]
    protocol["fd_pixel8"]["fakes"] = 100
    edit(path, protocol=protocol)
    findings = collect(project)
    assert findings.versions[0].values("fd_pixel8").keys() == {1}
    assert findings.versions[0].values("kid_effnet_lite0").keys() == {0, 1}
    assert "fakes 100 where the others have 500" in gap(findings, "fd_pixel8 of v1 seed 0")


def test_another_fingerprint_is_another_protocol(project: Path) -> None:
    for path in (project / "build/runs").glob("*/evaluate/*/metrics.json"):
        content = json.loads(path.read_text())
        other = path.parts[-4:-1] == ("v1", "evaluate", "0")
        for protocol in content["protocol"].values():
            protocol |= {"precision": "bf16" if other else "fp32", "fingerprint": "bbbb" if other else "aaaa"}
        path.write_text(json.dumps(content))
    findings = collect(project)
    assert findings.versions[0].values("fd_pixel8").keys() == {1}
    message = "precision bf16 where the others have fp32, fingerprint bbbb where the others have aaaa"
    assert message in gap(findings, "fd_pixel8 of v1 seed 0")


def test_a_run_of_another_plan_is_a_gap(project: Path) -> None:
    edit(project / "build/plan/versions/v3.json", fingerprint="another")
    findings = collect(project)
    assert "dvc repro train@v3" in gap(findings, "v3 seed 0")


def keep(project: Path, version: str) -> None:
    """Put all results of a version into the store."""
    for number, folder in enumerate(sorted((project / "build/runs" / version).glob("*/[0-9]*"))):
        store.put(
            folder.parent.name, f"{number}{version}" * 32, f"{version}-{folder.name}", folder, {}, {}, root=project
        )


def test_prune_removes_only_versions_that_the_plan_does_not_list(project: Path) -> None:
    runs = project / "build/runs"
    shutil.copytree(runs / "v1", runs / "v9")
    (runs / "notes").mkdir()
    (runs / "v9/notes.txt").write_text("mine")
    (runs / "v8").symlink_to(runs / "v1", target_is_directory=True)
    path = project / "build/plan/tree.json"
    versions = json.loads(path.read_text())["versions"]
    edit(path, versions=[entry | {"listed": entry["name"] != "v7"} for entry in versions])
    for version in ("v7", "v9"):
        keep(project, version)
    assert prune(project) == ["v7", "v9"]
    assert {path.name for path in runs.iterdir()} == {"v1", "v3", "v5", "notes", "v8", "v9"}
    assert [path.name for path in (runs / "v9").iterdir()] == ["notes.txt"]
    assert [path.name for path in sorted((runs / "v5/train").iterdir())] == ["0", "1"]
    assert (project / "data/packed/manifest.json").exists()
    assert prune(project) == []


@pytest.mark.parametrize("lacks", ["all", "a seed", "a stage", "an edit", "a file"])
def test_prune_keeps_results_that_the_store_lacks(lacks: str, project: Path) -> None:
    """As after `dvc pull`, or of an archive: nothing else may have them."""
    runs = project / "build/runs"
    shutil.copytree(runs / "v1", runs / "v9")
    if lacks != "all":
        keep(project, "v9")
    if lacks == "a seed":
        shutil.copytree(runs / "v9/train/0", runs / "v9/train/7")
    elif lacks == "a stage":
        shutil.rmtree(project / "build/store/evaluate")
    elif lacks == "an edit":
        (runs / "v9/evaluate/0/metrics.json").write_text("{}")
    elif lacks == "a file":
        (runs / "v9/train/0/mine.txt").write_text("mine")
    before = sorted(path for path in (runs / "v9").rglob("*"))
    assert prune(project) == []
    assert sorted(path for path in (runs / "v9").rglob("*")) == before


def test_versions_may_have_different_seeds(project: Path) -> None:
    path = project / "build/plan/tree.json"
    more = {"v1": [1, 0], "v3": [1, 0, 7, 5], "v5": [0, 1], "v7": [1]}
    versions = json.loads(path.read_text())["versions"]
    edit(path, versions=[entry | {"seeds": more[entry["name"]]} for entry in versions])
    fabricate_run(project, "v3", 5, 0.8)
    findings = collect(project)
    assert [(run.version, run.seed, run.status) for run in findings.runs if run.version in ("v3", "v7")] == [
        ("v3", 1, "finished"), ("v3", 0, "finished"), ("v3", 7, "missing"), ("v3", 5, "finished"),
        ("v7", 1, "finished"),
    ]  # fmt: skip
    assert findings.versions[1].values("fd_pixel8").keys() == {0, 1, 5}
    assert gap(findings, "v3 seed 7") == "it has not been trained; dvc repro train@v3"
    assert not [entry for entry in findings.gaps if entry.what == "v7 seed 0"], "v7 does not have seed 0"
    assert findings.shared_seeds == [1] and findings.seeds == [1, 0, 5, 7], "the shared ones first"
    assert findings.more_seeds == {"v1": [0], "v3": [0, 7, 5], "v5": [0]}
