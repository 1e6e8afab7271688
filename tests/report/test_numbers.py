from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.fabricated import edit, fabricate_run

from ganealogy.report.collect import collect
from ganealogy.report.numbers import write_numbers


def test_metrics_json_has_one_number_per_metric_and_version(project: Path) -> None:
    findings = collect(project)
    path, _ = write_numbers(findings)
    table = json.loads(path.read_text())
    assert list(table) == ["v1", "v3", "v5", "v7"]
    assert table["v1"].keys() == {*findings.metrics, "seeds"}
    assert table["v1"]["fd_pixel8"] == pytest.approx(findings.versions[0].mean("fd_pixel8"))
    assert [table[version]["seeds"] for version in table] == [2, 2, 1, 1]


def test_fd_csv_has_a_column_for_every_listed_version(project: Path) -> None:
    (project / "build/runs/v7/train/1/metrics.jsonl").unlink()
    findings = collect(project)
    _, path = write_numbers(findings)
    frame = pd.read_csv(path)
    assert list(frame.columns) == ["kimg", "v1", "v3", "v5", "v7"]
    assert frame["kimg"].is_monotonic_increasing and frame["kimg"].iloc[-1] == 60
    assert frame["v7"].isna().all()
    first = [run.ticks[0]["fd_pixel8"] for run in findings.versions[0].runs]
    assert frame["v1"].iloc[0] == pytest.approx(sum(first) / 2, rel=1e-5)


def test_versions_may_have_different_numbers_of_seeds(project: Path) -> None:
    path = project / "build/plan/tree.json"
    versions = json.loads(path.read_text())["versions"]
    edit(path, versions=[entry | {"seeds": [0, 1, 2] if entry["name"] == "v3" else [0, 1]} for entry in versions])
    fabricate_run(project, "v3", 2, 0.8)
    findings = collect(project)
    table = json.loads(write_numbers(findings)[0].read_text())
    assert [table[version]["seeds"] for version in table] == [2, 3, 1, 1]
    assert table["v3"]["fd_pixel8"] == pytest.approx(findings.versions[1].mean("fd_pixel8"))
