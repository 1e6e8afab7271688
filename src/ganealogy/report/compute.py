"""What a version's idea did at equal compute, beside the effect at equal updates.

All versions of a tree train for the same number of images, but a version with five D steps or a penalty does several
times its parent's operations on each. Both effects are read from the tracker's column, which has a value per tick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from ganealogy.report.findings import Findings, Run, Version


@dataclass(frozen=True)
class Effect:
    """A child's tracked distance as a ratio of its parent's, at one point of the training."""

    ratio: float
    """Geometric mean over the seeds that finished in both."""
    low: float
    high: float
    """Range of the seeds' ratios."""
    seeds: int


@dataclass(frozen=True)
class Fairness:
    other: str
    """The version compared with."""
    flops: float
    """Operations at which the cheaper of the two ends."""
    updates: Effect
    compute: Effect


def fairness(findings: Findings, version: Version) -> Fairness | None:
    """Return both effects of a version against its parent, or of a root against the first of evaluate.against.

    None without FLOPs or a seed that finished in both, or if only one of them was trained from scratch.
    """
    others = [version.parent] if version.parent else findings.evaluate.get("against") or []
    listed = {each.name: each for each in findings.listed if each is not version}
    parent = next((listed[name] for name in others if name in listed), None)
    if parent is None or not version.flops or not parent.flops:
        return None
    if findings.why_not_compared(version.name, parent.name):
        return None
    costs = version.flops, parent.flops
    column = findings.tracker
    mine, theirs = (
        {run.seed: run for run in side.runs if run.status == "finished" and run.series(column)}
        for side in (version, parent)
    )
    pairs = [(mine[seed], theirs[seed]) for seed in mine if seed in theirs]
    if not pairs:
        return None
    kimg = min(run.series(column)[-1][0] for pair in pairs for run in pair)
    flops = 1000 * kimg * min(costs)
    end, parents_end = (min(kimg, flops / cost / 1000) for cost in costs)  # min: rounding
    updates = _effect([(_at(run, column, kimg), _at(other, column, kimg)) for run, other in pairs])
    compute = _effect([(_at(run, column, end), _at(other, column, parents_end)) for run, other in pairs])
    return None if updates is None or compute is None else Fairness(parent.name, flops, updates, compute)


def _at(run: Run, column: str, kimg: float) -> float | None:
    """Return the column's value there, by interpolation of its logarithm between ticks; None outside of the curve."""
    points = [(at, value) for at, value in run.series(column) if value > 0]
    for (start, first), (end, last) in pairwise(points):
        if start <= kimg <= end:
            share = (kimg - start) / (end - start)
            return math.exp((1 - share) * math.log(first) + share * math.log(last))
    return None


def _effect(pairs: list[tuple[float | None, float | None]]) -> Effect | None:
    ratios = [mine / other for mine, other in pairs if mine is not None and other is not None]
    if not ratios:
        return None
    return Effect(math.exp(fmean(map(math.log, ratios))), min(ratios), max(ratios), len(ratios))
