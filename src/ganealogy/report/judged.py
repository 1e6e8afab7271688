"""Every verdict and interval that the report shows, worked out once, and the few words in which they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganealogy.report import wording
from ganealogy.report.findings import Findings, Version
from ganealogy.report.judgement import estimates, judge
from ganealogy.verdicts.metric_scales import scale
from ganealogy.verdicts.significance import ALPHA, BETTER, NO_DIFFERENCE, UNHARMED, WORSE, Estimate, Verdict

SIGNS = {BETTER: "✓", WORSE: "✗", UNHARMED: "≈"}
"""Before the word, so that a verdict is not told by its colour alone."""
STANDINGS = {BETTER: "better", WORSE: "worse", UNHARMED: "same", NO_DIFFERENCE: "open"}
"""Word → class of the style sheet; any other word is `unknown`."""


@dataclass(frozen=True)
class Judged:
    """Metric → version → verdict against its parent, and metric → version → mean with interval."""

    verdicts: dict[str, dict[str, Verdict]]
    estimates: dict[str, dict[str, Estimate]]

    @classmethod
    def of(cls, findings: Findings) -> Judged:
        return cls(
            {metric: judge(findings, metric) for metric in findings.metrics},
            {metric: estimates(findings, metric) for metric in findings.metrics},
        )

    def verdict(self, metric: str, version: Version) -> Verdict | None:
        """None for roots, and for a metric that nothing was measured by."""
        return self.verdicts.get(metric, {}).get(version.name)

    def estimate(self, metric: str, version: Version) -> Estimate | None:
        return self.estimates.get(metric, {}).get(version.name)


def effect(metric: str, verdict: Verdict | None) -> str:
    """How far a child is from its parent: `−22 %` of a distance, `+0.021` of a share; empty where untested."""
    return "" if verdict is None or verdict.effect is None else _far(metric, verdict.effect)


def effect_range(metric: str, verdict: Verdict | None) -> str:
    """The effect's 95 % interval: `−31 % to −12 %`."""
    if verdict is None or verdict.low is None or verdict.high is None:
        return ""
    return f"{_far(metric, verdict.low)} to {_far(metric, verdict.high)}"


def word(verdict: Verdict | None) -> str:
    """`✓ better`."""
    return "" if verdict is None else f"{SIGNS.get(verdict.word, '')} {verdict.label}".strip()


def standing(verdict: Verdict | None) -> str:
    return "unknown" if verdict is None else STANDINGS.get(verdict.word, "unknown")


def rule(verdicts: Mapping[str, Verdict]) -> str:
    """By what a difference was said to be shown; empty where nothing was tested."""
    if all(verdict.p is None for verdict in verdicts.values()):
        return ""
    return (
        "A difference is shown where p (Welch's test over seeds, Holm's correction over the tree) is at most "
        f"{100 * ALPHA:g} %; of trees without any difference at most 5 % then show one."
    )


def interval(estimate: Estimate | None) -> str:
    """`93–119`; empty below two seeds."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{wording.figure(estimate.low)} to {wording.figure(estimate.high)}"


def _far(metric: str, value: float) -> str:
    if scale(metric) != "log":
        return f"{value:+.3g}".replace("-", "−")
    if value >= 2:
        return f"×{value:.3g}"
    return f"{100 * (value - 1):+.0f} %".replace("-", "−")
