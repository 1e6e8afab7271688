from __future__ import annotations

from pathlib import Path

from ganealogy.report import columns, wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings


def with_metrics(findings: Findings, *names: str) -> Findings:
    for run in findings.runs:
        run.metrics = dict.fromkeys(names, 1.0)
    return findings


def test_three_headline_distances_and_the_rest_in_families(shared_project: Path) -> None:
    names = ["fd_pixel8", "fd_inf_pixel8", "fd_effnet_lite0", "kid_effnet_lite0", "kid_inception", "fid"]
    names += ["recall_inception", "precision_inception", "vendi_inception", "memorised_pixel8", "sharpness_pixel8"]
    findings = with_metrics(collect(shared_project), *names)
    assert columns.headline(findings) == ["fd_pixel8", "fid", "kid_effnet_lite0"]
    assert columns.families(findings) == {
        "distances": ["fd_effnet_lite0", "fd_inf_pixel8", "kid_inception"],
        "fidelity and variety": ["precision_inception", "recall_inception"],
        "diversity": ["vendi_inception"],
        "memorisation": ["memorised_pixel8"],
        "other": ["sharpness_pixel8"],
    }
    assert sorted(columns.all_columns(findings)) == sorted(names)


def test_without_distances_the_first_metrics_are_the_headline(shared_project: Path) -> None:
    findings = with_metrics(collect(shared_project), "recall_x", "precision_x")
    assert columns.headline(findings) == ["precision_x", "recall_x"] and columns.families(findings) == {}


def test_metrics_are_grouped_by_protocol(shared_project: Path) -> None:
    groups = [members for _, members in columns.protocols(collect(shared_project))]
    assert groups == [
        ["fd_pixel8"],
        ["fd_effnet_lite0", "kid_effnet_lite0", "precision_effnet_lite0", "recall_effnet_lite0"],
    ]


def test_the_credit_ends_a_sentence(shared_project: Path) -> None:
    findings = collect(shared_project)
    assert wording.credit(findings) == "by Lisa Wischofsky"
    findings.manifest["artist"] = "collected by Spencer Churchill; each drawing by its own artist"
    assert wording.credit(findings) == findings.manifest["artist"]
    findings.manifest["artist"] = ""
    assert wording.credit(findings) == ""
