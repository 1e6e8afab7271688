"""Which metrics the table shows at first, and behind which button the others stand.

A table of everything would be wider than any screen: three distances lead, each family of the others is a button away.
"""

from __future__ import annotations

import json
from typing import Any

from ganealogy.report.findings import Findings
from ganealogy.verdicts.metric_scales import has_direction, higher_is_better

LEADING = 3
FAMILIES = {
    "distances": ("fd", "fid", "fd_inf", "kid"),
    "fidelity and variety": ("precision", "recall", "density", "coverage"),
    "diversity": ("vendi", "diversity", "is"),
    "memorisation": ("memorised",),
}
"""Button → kinds of metric; what belongs to none of them stands behind `other`."""
KINDS = sorted((kind for kinds in FAMILIES.values() for kind in kinds), key=len, reverse=True)


def split(metric: str) -> tuple[str, str]:
    """(kind, extractor): `fd_inf_effnet_lite0` → ("fd_inf", "effnet_lite0"), `fid` → ("fid", "")."""
    for kind in KINDS:
        if metric == kind or metric.startswith(f"{kind}_"):
            return kind, metric[len(kind) + 1 :]
    kind, _, extractor = metric.partition("_")
    return kind, extractor


def leading(findings: Findings) -> list[str]:
    """The tracker's distance, then FID or else the first network's Fréchet distance, then a KID."""
    measured = findings.metrics
    lead = [name for name in measured if name == findings.lead]
    frechet = [name for name in measured if split(name)[0] in ("fid", "fd") and name != findings.lead]
    kernel = [name for name in measured if split(name)[0] == "kid"]
    first = [*lead, *sorted(frechet, key=lambda name: name != "fid")[:1], *kernel[:1]]
    return first or measured[:LEADING]


def families(findings: Findings) -> dict[str, list[str]]:
    """Button → the metrics behind it; those that lead are behind none."""
    shown = leading(findings)
    found: dict[str, list[str]] = {}
    for metric in findings.metrics:
        if metric not in shown:
            kind = split(metric)[0]
            family = next((name for name, kinds in FAMILIES.items() if kind in kinds), "other")
            found.setdefault(family, []).append(metric)
    order = [*FAMILIES, "other"]
    return {name: found[name] for name in order if name in found}


def ordered(findings: Findings) -> list[str]:
    """Every measured metric: those that lead, then family by family."""
    return [*leading(findings), *(metric for members in families(findings).values() for metric in members)]


def direction(metric: str) -> str:
    """Which way is better, as an arrow."""
    return ("↑" if higher_is_better(metric) else "↓") if has_direction(metric) else ""


def protocols(findings: Findings) -> list[tuple[dict[str, Any], list[str]]]:
    """Each protocol that numbers in the table share, with its metrics; their fingerprint is told by the rest."""
    shared: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for metric in ordered(findings):
        ways = [run.protocols[metric] for run in findings.runs if metric in run.metrics and metric in run.protocols]
        way = ways[0] if ways else {}
        told = {key: value for key, value in way.items() if key != "fingerprint"}
        group = json.dumps([split(metric)[1], told], sort_keys=True)
        shared.setdefault(group, (way, []))[1].append(metric)
    return list(shared.values())
