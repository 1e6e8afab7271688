"""From findings to verdicts: the one place where page, Markdown and terminal get their error bars and words."""

from __future__ import annotations

from ganealogy.report.findings import Findings, number
from ganealogy.verdicts import significance
from ganealogy.verdicts.significance import Estimate, Verdict

MARGIN = 0.1
"""Where the plan states no `evaluate.equivalence_margin`."""


def judge(findings: Findings, metric: str) -> dict[str, Verdict]:
    """Listed version → its verdict against its parent; roots are absent. One Holm family for the metric.

    A parent that is not listed was not run in this tree: `not measured`, whatever stands further up.
    """
    margin = number(findings.evaluate.get("equivalence_margin", MARGIN))
    return significance.verdicts(
        metric,
        {version.name: list(version.values(metric).values()) for version in findings.listed},
        {version.name: version.parent for version in findings.listed},
        findings.anchors.get(metric, {}).get("mean_image"),
        planned=len(findings.seeds),
        margin=margin,
    )


def estimates(findings: Findings, metric: str) -> dict[str, Estimate]:
    """Listed version → mean and 95 % interval over its seeds; versions without a value are absent."""
    found = {version.name: list(version.values(metric).values()) for version in findings.listed}
    return {name: significance.estimate(metric, values) for name, values in found.items() if values}
