"""Verdicts and intervals of every metric and version, computed once, and their short texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganealogy.report import wording
from ganealogy.report.findings import Findings, Version, number
from ganealogy.verdicts import significance
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import ALPHA, BETTER, EQUIVALENT, NO_DIFFERENCE, WORSE, Estimate, Verdict

SIGNS = {BETTER: "✓", WORSE: "✗", EQUIVALENT: "≈"}
"""Shown before the word: colour alone must not carry a verdict."""
CSS_CLASSES = {BETTER: "better", WORSE: "worse", EQUIVALENT: "same", NO_DIFFERENCE: "open"}
"""Word → class of the style sheet; any other word is `unknown`."""


def verdicts_for(
    findings: Findings, metric: str, values: Mapping[str, Mapping[int, float]] | None = None
) -> dict[str, Verdict]:
    """Return listed version → verdict against its parent, without roots. The metric is one Holm family.

    A version whose parent is not listed is `not measured`, also if an earlier ancestor is listed. `values`: version →
    seed → value, in place of the reported ones.
    """
    given = {version.name: version.values(metric) for version in findings.listed} if values is None else values
    return significance.verdicts(
        metric,
        {version.name: list(given.get(version.name, {}).values()) for version in findings.listed},
        {version.name: version.parent for version in findings.listed},
        findings.anchors.get(metric, {}).get("mean_image"),
        planned={version.name: len(version.seeds) for version in findings.listed},
        margin=number(findings.evaluate.get("equivalence_margin")),
    )


def estimates_for(findings: Findings, metric: str) -> dict[str, Estimate]:
    """Return listed version → mean and 95 % interval over its seeds, without versions that have no value."""
    values = {version.name: list(version.values(metric).values()) for version in findings.listed}
    return {name: significance.estimate(metric, numbers) for name, numbers in values.items() if numbers}


@dataclass(frozen=True)
class VerdictTable:
    """Metric → version → verdict against its parent, and metric → version → mean with interval.

    The primary metric is always included: if nothing is measured, its verdicts are `not measured`.
    """

    verdicts: dict[str, dict[str, Verdict]]
    estimates: dict[str, dict[str, Estimate]]

    @classmethod
    def of(cls, findings: Findings) -> VerdictTable:
        metrics = dict.fromkeys([findings.primary_metric, *findings.metrics])
        return cls(
            {metric: verdicts_for(findings, metric) for metric in metrics},
            {metric: estimates_for(findings, metric) for metric in metrics},
        )

    def for_metric(self, metric: str) -> Mapping[str, Verdict]:
        """Return version → verdict; empty for a metric that was not measured."""
        return self.verdicts.get(metric, {})

    def verdict(self, metric: str, version: Version) -> Verdict | None:
        """Return None for roots, and for a metric that was not measured."""
        return self.for_metric(metric).get(version.name)

    def estimate(self, metric: str, version: Version) -> Estimate | None:
        return self.estimates.get(metric, {}).get(version.name)


def effect(metric: str, verdict: Verdict | None) -> str:
    """Format a child's difference from its parent: `−22 %` of a distance, `+0.021` of a fraction; empty if unknown."""
    return "" if verdict is None or verdict.effect is None else _difference(metric, verdict.effect)


def effect_range(metric: str, verdict: Verdict | None) -> str:
    """Format the effect's 95 % interval: `−31 % to −12 %`; empty if unknown."""
    if verdict is None or verdict.low is None or verdict.high is None:
        return ""
    return f"{_difference(metric, verdict.low)} to {_difference(metric, verdict.high)}"


def verdict_label(verdict: Verdict | None) -> str:
    """Format a verdict: `✓ better`."""
    return "" if verdict is None else f"{SIGNS.get(verdict.word, '')} {verdict.label}".strip()


def css_class(verdict: Verdict | None) -> str:
    return "unknown" if verdict is None else CSS_CLASSES.get(verdict.word, "unknown")


def decision_rule(verdicts: Mapping[str, Verdict]) -> str:
    """Return the decision rule, as a sentence; empty if nothing was tested."""
    if all(verdict.p is None for verdict in verdicts.values()):
        return ""
    return (
        "A difference counts as shown if p (Welch's test over seeds, Holm's correction over the tree) is at most "
        f"{100 * ALPHA:g} %; then at most 5 % of trees without any difference show one."
    )


def interval(estimate: Estimate | None) -> str:
    """Format a 95 % interval: `93 to 119`; empty below two seeds."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{wording.figure(estimate.low)} to {wording.figure(estimate.high)}"


def _difference(metric: str, value: float) -> str:
    if scale(metric) != "log":
        return f"{value:+.3g}".replace("-", "−")
    if value >= 2:
        return f"×{value:.3g}"
    return f"{100 * (value - 1):+.0f} %".replace("-", "−")
