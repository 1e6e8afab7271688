"""Columns of the table: three headline distances, and the other metrics in families, each behind a button.

A table of all metrics would be wider than any screen.
"""

from __future__ import annotations

import json

from ganealogy.report.findings import Findings, Json
from ganealogy.verdicts.metric_kinds import KINDS, has_direction, higher_is_better, split

HEADLINE_COUNT = 3
OTHER = "other"
PARTS = ("fd_layout_32", "fd_edges_64")
"""Of fd_layout_edges_32_64: never headlines."""


def headline(findings: Findings) -> list[str]:
    """Return the primary metric, then FID or else the first other Fréchet distance, then SWD or else a KID."""
    measured = findings.metrics
    primary = [name for name in measured if name == findings.primary_metric]
    others = [name for name in measured if name not in (*primary, *PARTS)]
    frechet = [name for name in others if split(name)[0] in ("fid", "fd_w64", "fd")]
    kernel = [name for name in others if split(name)[0] in ("swd", "kid")]
    first = [*primary, *sorted(frechet, key=lambda name: name != "fid")[:1], *kernel[:1]]
    return first or measured[:HEADLINE_COUNT]


def families(findings: Findings) -> dict[str, list[str]]:
    """Return button → metrics, without the headline metrics."""
    shown = headline(findings)
    members: dict[str, list[str]] = {}
    for metric in findings.metrics:
        if metric not in shown:
            kind = KINDS.get(split(metric)[0])
            members.setdefault(kind.family if kind else OTHER, []).append(metric)
    order = dict.fromkeys([*(kind.family for kind in KINDS.values()), OTHER])
    return {name: members[name] for name in order if name in members}


def all_columns(findings: Findings) -> list[str]:
    """Return every measured metric: the headline metrics, then family by family."""
    return [*headline(findings), *(metric for members in families(findings).values() for metric in members)]


def direction(metric: str) -> str:
    """Return an arrow in the direction of better values; empty without a direction."""
    return ("↑" if higher_is_better(metric) else "↓") if has_direction(metric) else ""


def protocols(findings: Findings) -> list[tuple[Json, list[str]]]:
    """Return each protocol with the metrics measured by it. Fingerprints, which differ per metric, are ignored."""
    groups: dict[str, tuple[Json, list[str]]] = {}
    for metric in all_columns(findings):
        runs = [run for run in findings.runs if metric in run.metrics and metric in run.protocols]
        protocol = runs[0].protocols[metric] if runs else {}
        compared = {key: value for key, value in protocol.items() if key != "fingerprint"}
        group = json.dumps([split(metric)[1], compared], sort_keys=True)
        groups.setdefault(group, (protocol, []))[1].append(metric)
    return list(groups.values())
