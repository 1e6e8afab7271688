"""Results as plain mappings, for scripts: what `ganealogy summary --json` and `ganealogy judge --json` print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError, one_of
from ganealogy.report.ablation import edges_with
from ganealogy.report.collect import collect
from ganealogy.report.conclusions import remark
from ganealogy.report.findings import Findings
from ganealogy.report.outcome import best_version, outcome
from ganealogy.report.verdict_table import against_for, contrasts, estimates_for, parents_of, verdicts_for
from ganealogy.verdicts.significance import BETTER, DIVERGES_LESS, DIVERGES_MORE, EQUIVALENT, WORSE, SecondEdge, Verdict

YES = {
    "better": {BETTER, DIVERGES_LESS},
    "worse": {WORSE, DIVERGES_MORE},
    "equivalent": {EQUIVALENT},
    "not-worse": {BETTER, DIVERGES_LESS, EQUIVALENT},
}
"""What may be required → the verdicts that fulfil it; any other verdict with evidence does not."""
DECIDED = {BETTER, WORSE, EQUIVALENT, DIVERGES_LESS, DIVERGES_MORE}


def summary(root: Path) -> dict[str, Any]:
    """Return the outcome, and of each listed version its distance, its verdict and its seeds.

    Raises: GanealogyError when there is no plan.
    """
    findings = collect(root)
    metric = findings.primary_metric
    verdicts, estimates = verdicts_for(findings, metric), estimates_for(findings, metric)
    best = best_version(findings)
    return {
        "sentence": outcome(findings, verdicts).sentence,
        "metric": metric,
        "best": best.name if best else None,
        "versions": [
            {
                "name": version.name,
                "title": version.title,
                "parent": version.parent,
                "from": version.start or None,
                "seeds": {str(seed): value for seed, value in version.values(metric).items()},
                "distance": asdict(estimates[version.name]) if version.name in estimates else None,
                "verdict": asdict(verdicts[version.name]) if version.name in verdicts else None,
                "against_other_parent": {
                    other: asdict(verdicts[SecondEdge(version.name, other)]) for other in version.parents[1:]
                }
                if not version.ablates
                else {},
                "conclusion": version.conclusion.text if version.conclusion else None,
                "conclusion_remark": remark(findings, version) or None,
            }
            for version in findings.listed
        ],
        "against": {
            name: {version: asdict(verdict) for version, verdict in row.items()}
            for name, row in against_for(findings).items()
        },
    }


def judge(root: Path, version: str, against: str | None) -> tuple[str, str, Verdict, str]:
    """Return the metric, the version to compare with, the verdict, and a remark on what it is corrected for.

    `against`: None is the parent.

    Raises: GanealogyError for a version that is not listed, and for a root without `against`.
    """
    findings = collect(root)
    listed = {each.name: each for each in findings.listed}
    for name in filter(None, (version, against)):
        if name not in listed:
            raise one_of("version of tree.versions", name, listed)
    other = against or edges_with(findings, listed[version]).get(version)
    if other is None:
        raise GanealogyError(f"{version} is a root: name the version to compare it with, --against NAME")
    if other == version:
        raise GanealogyError(f"--against {other}: name another version than {version}")
    return findings.primary_metric, other, *_verdict(findings, version, other)


def _verdict(findings: Findings, version: str, other: str) -> tuple[Verdict, str]:
    metric = findings.primary_metric
    edges = edges_with(findings, next(each for each in findings.listed if each.name == version))
    if version in edges and version not in parents_of(findings) and edges[version] == other:
        found = verdicts_for(findings, metric, parents=edges)[version]
        return found, "exploratory: corrected for the ablations of the same version and all looks"
    for key in (version, SecondEdge(version, other)):
        if edges.get(key) == other:
            return verdicts_for(findings, metric)[key], "corrected for all edges of the tree and all looks"
    if version in contrasts(findings).get(other, {}):
        return against_for(findings)[other][version], "corrected for all versions against that one and all looks"
    alone = verdicts_for(findings, metric, parents={version: other})
    return alone[version], "corrected for looks alone: add it to evaluate.against to have it among the planned ones"


def answer(verdict: Verdict, required: str) -> bool | None:
    """Return whether the verdict fulfils what is required; None while that is open."""
    if verdict.word in YES[required]:
        return True
    return False if verdict.word in DECIDED else None
