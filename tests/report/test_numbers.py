from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.fabricated import edit, fabricate_run

from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings
from ganealogy.report.numbers import write_numbers


def written(project: Path) -> tuple[Findings, dict[str, Any], dict[str, Any]]:
    """Return the findings, metrics.json and all-metrics.json."""
    findings = collect(project)
    write_numbers(findings)
    lead, rest = (json.loads((project / "reports" / name).read_text()) for name in ("metrics.json", "all-metrics.json"))
    return findings, lead, rest


def test_metrics_json_has_the_outcome_and_one_number_per_version(project: Path) -> None:
    """Columns of `dvc exp show`, in this order: what does not fit is cut at the right."""
    findings, lead, _ = written(project)
    assert list(lead) == ["best", "distance", "helped", "harmed", "open", "lead"]
    assert (lead["best"], lead["helped"], lead["harmed"], lead["open"]) == ("v7", 0, 0, 3)
    means = {version.name: version.mean("fd_pixel8") for version in findings.versions}
    assert lead["lead"] == pytest.approx(means) and list(lead["lead"]) == ["v1", "v3", "v5", "v7"]
    assert lead["distance"] == lead["lead"]["v7"] == min(lead["lead"].values())


def test_a_version_that_passes_no_gate_is_not_best_and_its_distance_is_shown(project: Path) -> None:
    edit(project / "data/reference/anchors.json", metrics={"fd_pixel8": {"rep25": 1.0}})
    _, lead, _ = written(project)
    assert lead["best"] is None and lead["distance"] == lead["lead"]["v7"]


def test_without_a_result_there_is_no_best_version(crowd: Path) -> None:
    (crowd / "build/runs/v1/evaluate/0/metrics.json").unlink()
    _, lead, rest = written(crowd)
    assert lead == {"best": None, "distance": None, "helped": 0, "harmed": 0, "open": 39, "lead": {}}
    assert rest["v1"] == {"seeds": 0} and rest["v2"] == {"seeds": 0, "verdict": "not measured"}


def test_all_metrics_json_has_one_number_per_metric_and_version(project: Path) -> None:
    findings, _, table = written(project)
    assert list(table) == ["v1", "v3", "v5", "v7"]
    assert table["v1"].keys() == {*findings.metrics, "seeds"}
    assert table["v3"].keys() == {*findings.metrics, "seeds", "verdict"}
    assert table["v3"]["verdict"] == "too few seeds"
    assert table["v1"]["fd_pixel8"] == pytest.approx(findings.versions[0].mean("fd_pixel8"))
    assert [table[version]["seeds"] for version in table] == [2, 2, 1, 1]


def test_curves_have_a_column_for_every_listed_version(project: Path) -> None:
    (project / "build/runs/v7/train/1/metrics.jsonl").unlink()
    findings, *_ = written(project)
    for name, column in (("fd.csv", "fd_pixel8"), ("d_loss.csv", "d_loss"), ("g_loss.csv", "g_loss")):
        frame = pd.read_csv(project / "reports" / name)
        assert list(frame.columns) == ["kimg", "v1", "v3", "v5", "v7"]
        assert frame["kimg"].is_monotonic_increasing and frame["kimg"].iloc[-1] == 60
        assert frame["v7"].isna().all()
        first = [run.series(column)[0][1] for run in findings.versions[0].runs]
        assert frame["v1"].iloc[0] == pytest.approx(sum(first) / 2, rel=1e-5)


def test_versions_may_have_different_numbers_of_seeds(project: Path) -> None:
    path = project / "build/plan/tree.json"
    versions = json.loads(path.read_text())["versions"]
    edit(path, versions=[entry | {"seeds": [0, 1, 2] if entry["name"] == "v3" else [0, 1]} for entry in versions])
    fabricate_run(project, "v3", 2, 0.8)
    findings, _, table = written(project)
    assert [table[version]["seeds"] for version in table] == [2, 3, 1, 1]
    assert table["v3"]["fd_pixel8"] == pytest.approx(findings.versions[1].mean("fd_pixel8"))
