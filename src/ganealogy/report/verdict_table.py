"""Verdicts on the primary metric and estimates of every metric, computed once, and their short texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from ganealogy.lineage.changes import count_changes
from ganealogy.report import wording
from ganealogy.report.findings import Findings, Version, number
from ganealogy.verdicts import estimates, significance
from ganealogy.verdicts.estimates import Estimate
from ganealogy.verdicts.looks import ALPHA, LOOKS, SEEDS_NEEDED
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import (
    BETTER,
    DIVERGES_LESS,
    DIVERGES_MORE,
    EQUIVALENT,
    NO_DIFFERENCE,
    NOT_COMPARED,
    WORSE,
    SecondEdge,
    Verdict,
    child_of,
)

SIGNS = {BETTER: "✓", DIVERGES_LESS: "✓", WORSE: "✗", DIVERGES_MORE: "✗", EQUIVALENT: "≈"}
"""Shown before the word: colour alone must not carry a verdict."""
CSS_CLASSES = {
    **dict.fromkeys((BETTER, DIVERGES_LESS), "better"),
    **dict.fromkeys((WORSE, DIVERGES_MORE), "worse"),
    EQUIVALENT: "same",
    NO_DIFFERENCE: "open",
}
"""Word → class of the style sheet; any other word is `unknown`."""
INTERVALS = "All intervals of the tree hold together, at every look, in 95 % of trees."


def verdicts_for(
    findings: Findings,
    metric: str,
    values: Mapping[str, Mapping[int, float]] | None = None,
    parents: Mapping[str, str | None] | None = None,
) -> dict[str, Verdict]:
    """Return listed version → verdict against its parent, without roots; for a merge `SecondEdge` → verdict, too.

    A version whose parent is not listed is `not measured`, also if an earlier ancestor is listed.

    `values`: version → seed → value, instead of the metric as measured (of another checkpoint, say). `parents`: version
    → the version to compare it with, which make a family of their own.
    """
    parents = _all_edges(findings) if parents is None else parents
    refused = {key: why for key, parent in parents.items() if (why := findings.why_not_compared(child_of(key), parent))}
    parents = {key: None if key in refused else parent for key, parent in parents.items()}
    results = trained(findings, metric, values)
    found = significance.verdicts(
        metric,
        results,
        parents,
        margin=number(findings.evaluate.get("equivalence_margin")),
        gate=findings.gate if metric == findings.primary_metric else None,
        barred=copying(findings),
    )
    waiting = {
        version.name: f"seed {min(missing)} of {version.name}"
        for version in findings.listed
        if (missing := set(version.seeds) - set(results[version.name])) and results[version.name]
    }
    for child, verdict in found.items():
        if seeds := [waiting[name] for name in (child_of(child), parents[child]) if name in waiting]:
            found[child] = replace(verdict, why=f"{verdict.why}; no result yet: {' and '.join(seeds)}")
    found |= {key: Verdict(NOT_COMPARED, detail=f": {why}") for key, why in refused.items()}
    return {key: found[key] for key in parents if key in found}


def trained(
    findings: Findings, metric: str, values: Mapping[str, Mapping[int, float]] | None = None
) -> dict[str, dict[int, float]]:
    """Return listed version → seed → value, in ascending order of seeds up to the first one without a result.

    A diverged run is a lost seed, NaN, also if an earlier checkpoint of it was measured. Seeds beyond one that is still
    to come do not count: the verdict must not depend on which seeds happen to be finished. Where that leaves too few
    for a look, later ones count too, one fewer than a look needs.
    """
    table = {}
    for version in findings.listed:
        measured = version.values(metric) if values is None else values.get(version.name, {})
        lost = [run.seed for run in version.runs if run.status == "diverged"]
        known = {**measured, **dict.fromkeys(lost, math.nan)}
        seeds = list(takewhile(known.__contains__, sorted(version.seeds)))
        if len(seeds) < SEEDS_NEEDED:
            seeds = sorted(set(version.seeds) & known.keys())[: SEEDS_NEEDED - 1]
        table[version.name] = {seed: known[seed] for seed in seeds}
    return table


def parents_of(findings: Findings) -> dict[str, str | None]:
    """Return the tree's edges: listed version → parent, and for a merge `SecondEdge` → its other parent.

    A parent is None if the two are not compared. Versions that take another one apart are not among them: these are a
    family of their own.
    """
    edges = _all_edges(findings)
    return {key: None if findings.why_not_compared(child_of(key), other) else other for key, other in edges.items()}


def _all_edges(findings: Findings) -> dict[str, str | None]:
    edges: dict[str, str | None] = {}
    for version in findings.listed:
        if not version.ablates:
            edges[version.name] = version.parent
            edges |= {SecondEdge(version.name, other): other for other in version.parents[1:]}
    return edges


def copying(findings: Findings) -> dict[str, set[int]]:
    """Return version → seeds flagged as copying training pictures."""
    return {version.name: {run.seed for run in version.flagged.get("memorised", [])} for version in findings.listed}


def contrasts(findings: Findings) -> dict[str, dict[str, str | None]]:
    """Return each version of evaluate.against → the versions that are compared with it.

    Those are all listed ones except itself and its children, whose edges already compare them, and except versions that
    take another one apart.
    """
    named = dict.fromkeys(findings.evaluate.get("against") or [])
    return {
        name: {
            version.name: name
            for version in findings.listed
            if name not in (version.name, *version.parents) and not version.ablates
        }
        for name in named
    }


def against_for(findings: Findings) -> dict[str, dict[str, Verdict]]:
    """Return version of evaluate.against → version → verdict against it."""
    metric = findings.primary_metric
    return {name: verdicts_for(findings, metric, parents=edges) for name, edges in contrasts(findings).items()}


def estimates_for(findings: Findings, metric: str) -> dict[str, Estimate]:
    """Return listed version → mean and 95 % interval over its seeds, without versions that have no value."""
    values = {version.name: list(version.values(metric).values()) for version in findings.listed}
    return {name: estimates.estimate(metric, row) for name, row in values.items() if row}


@dataclass(frozen=True)
class VerdictTable:
    """Verdicts on the primary metric, and means with intervals of every metric."""

    verdicts: dict[str, Verdict]
    """Version → verdict against its parent; of a merge, `SecondEdge` → verdict against the other one, too."""
    against: dict[str, dict[str, Verdict]]
    """Version of evaluate.against → version → verdict against it."""
    estimates: dict[str, dict[str, Estimate]]
    """Metric → version → mean with interval."""

    @classmethod
    def of(cls, findings: Findings) -> VerdictTable:
        primary = findings.primary_metric
        return cls(
            verdicts_for(findings, primary),
            against_for(findings),
            {metric: estimates_for(findings, metric) for metric in dict.fromkeys([primary, *findings.metrics])},
        )

    def verdict(self, version: Version) -> Verdict | None:
        """Return None for roots."""
        return self.verdicts.get(version.name)

    def second(self, version: Version) -> dict[str, Verdict]:
        """Return the other parent of a merge → verdict against it; empty for other versions."""
        keys = {other: SecondEdge(version.name, other) for other in version.parents[1:]}
        return {other: self.verdicts[key] for other, key in keys.items() if key in self.verdicts}

    def estimate(self, metric: str, version: Version) -> Estimate | None:
        return self.estimates.get(metric, {}).get(version.name)


def effect(metric: str, verdict: Verdict | None) -> str:
    """Format a child's difference from its parent: `−22 %` of a distance, `+0.021` of KID; empty if unknown."""
    return "" if verdict is None or verdict.effect is None else _difference(metric, verdict.effect)


def effect_range(metric: str, verdict: Verdict | None) -> str:
    """Format the effect's interval: `−31 % to −12 %`; empty if unknown."""
    if verdict is None or verdict.low is None or verdict.high is None:
        return ""
    return f"{_difference(metric, verdict.low)} to {_difference(metric, verdict.high)}"


def at_look(verdict: Verdict | None) -> str:
    """Format when an effect was looked at last: `look 2 of 5, 8 seeds`; empty before the first look."""
    if verdict is None or verdict.seeds is None or verdict.effect is None:
        return ""
    return f"look {1 + list(LOOKS).index(verdict.seeds)} of {len(LOOKS)}, {verdict.seeds} seeds"


def verdict_label(verdict: Verdict | None) -> str:
    """Format a verdict: `✓ better`."""
    return "" if verdict is None else f"{SIGNS.get(verdict.word, '')} {verdict.label}".strip()


def css_class(verdict: Verdict | None) -> str:
    return "unknown" if verdict is None else CSS_CLASSES.get(verdict.word, "unknown")


def bundle(version: Version) -> str:
    """Return `bundle of 3 changes` where the verdict is about more than one; else empty."""
    count = count_changes(version.changes) if version.parent is not None else 0
    return f"bundle of {count} changes" if count > 1 else ""


def decision_rule(verdicts: Mapping[str, Verdict]) -> str:
    """Return the decision rule, as sentences; empty if nothing was tested."""
    if all(verdict.p is None for verdict in verdicts.values()):
        return ""
    *first, last = LOOKS
    return (
        f"Child and parent are compared seed by seed, with the first {', '.join(map(str, first))} and {last} seeds. A "
        f"word is given if p, corrected for these looks and all edges, is at most {significance.percent(ALPHA)}; then "
        f"at most one tree in twenty without any difference shows one. {INTERVALS}"
    )


def family(findings: Findings) -> str:
    """Return the family, what it leaves out, and the measured seed correlation, as sentences; empty without edges."""
    primary = findings.primary_metric
    edges = significance.family(primary, trained(findings, primary), parents_of(findings))
    if not edges:
        return ""
    parts = [f"Family of {wording.plural(len(edges), 'edge')}"]
    if findings.left_out:
        are = "is" if len(findings.left_out) == 1 else "are"
        left_out = f"{wording.plural(len(findings.left_out), 'version')} of the tree {are} left out"
        parts.append(f"{left_out}: {', '.join(findings.left_out)}")
    text = f"{'; '.join(parts)}."
    if (correlation := significance.seed_correlation(edges)) is not None:
        text += f" Seed correlation of children with parents: {correlation:.2f}".replace("-", "−") + "."
    return text


def interval(estimate: Estimate | None) -> str:
    """Format a 95 % interval: `93 to 119`; empty if there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{wording.figure(estimate.low)} to {wording.figure(estimate.high)}"


def no_interval(estimate: Estimate | None) -> str:
    """Return why an estimate has no interval; empty if it has one."""
    if estimate is None or interval(estimate):
        return ""
    return "one seed" if len(estimate.values) == 1 else "all seeds equal"


def _difference(metric: str, value: float) -> str:
    return wording.change(value) if scale(metric) == "log" else f"{value:+.3g}".replace("-", "−")
