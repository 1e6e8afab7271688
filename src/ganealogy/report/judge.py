"""What judges the versions: the leading distance on its scale, and what fools it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup, escape

from ganealogy.evaluation.battery import MUST_FAIL
from ganealogy.report import wording
from ganealogy.report.findings import Findings, Version, number
from ganealogy.report.outcome import best_version
from ganealogy.verdicts.metric_kinds import split

DESCRIPTIONS = {
    "fd_layout_edges_32_64": (
        "It is the larger of two distances between a version's pictures and the training pictures: of where things are "
        "(means of 8×8 cells) and of which edges are there (Haar energies in 4×4 cells). Both are in units of how much "
        "the training pictures differ among themselves, so 1 is one picture repeated."
    ),
    "fd_pixel8": (
        "It compares pictures shrunk to 8×8 pixels through the mean and covariance of their levels. It sees nothing "
        "finer than such a cell."
    ),
    "swd": (
        "It compares small patches of the pictures at several scales, by their distribution along random directions. "
        "It sees textures, and hardly which pictures are missing."
    ),
}
FRECHET = (
    "It compares the mean and covariance of {}'s features of a version's pictures and of the training pictures. "
    "It sees what that network was trained to see."
)
KERNEL = (
    "It compares {}'s features of a version's pictures and of the training pictures by a polynomial kernel. "
    "Its expectation does not depend on the number of pictures."
)
BLIND = 2.0
"""A set of MUST_FAIL that is less than this many times as far as held-out reals is not seen."""
FEW = 500
"""Samples below which the report marks the leading metric."""
LINES = {"floor": "reals", "gaussian": "Gaussian", "rep100": "100 repeated", "rep25": "25 repeated"}
"""Anchor → label of its line on the axis."""
WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 760, 60, 20, 34, 22, 26
"""Layout of the chart, in pixels."""


@dataclass(frozen=True)
class Member:
    """One set of the battery, as measured by the leading metric."""

    name: str
    described: str
    value: float
    must_fail: bool
    ahead: bool
    """Of the best version."""
    unseen: bool
    """MUST_FAIL and as near as held-out reals: see BLIND."""
    others: dict[str, float]
    """Other metrics of the battery → value."""


def describe(metric: str) -> str:
    """Return what a distance compares, in two sentences or three."""
    kind, extractor = split(metric)
    template = KERNEL if kind == "kid" else FRECHET
    return DESCRIPTIONS.get(metric, template.format(wording.EXTRACTORS.get(extractor, extractor) or "Inception"))


def members(findings: Findings) -> list[Member]:
    """Return the anchors and the battery by the leading metric, nearest first; empty if it was not measured."""
    metric = findings.primary_metric
    values = {**findings.anchors.get(metric, {}), **findings.battery.get(metric, {})}
    best = best_version(findings)
    limit = best.mean(metric) if best else None
    floor = values.get("floor", 0.0)
    others = [name for name in findings.battery if name != metric]
    return [
        Member(
            name=name,
            described=findings.anchors_described.get(name, ""),
            value=value,
            must_fail=name in MUST_FAIL,
            ahead=limit is not None and value < limit,
            unseen=name in MUST_FAIL and value < BLIND * floor,
            others={
                other: {**findings.anchors.get(other, {}), **findings.battery[other]}.get(name, math.nan)
                for other in others
            },
        )
        for name, value in sorted(values.items(), key=lambda item: item[1])
    ]


def verdict_on_the_judge(findings: Findings) -> list[str]:
    """Return what the battery shows on this data set, in sentences: what fools the metric, and the milestone."""
    battery, best, metric = members(findings), best_version(findings), findings.primary_metric
    sentences = []
    count = number(findings.sample.get("count"))
    if count is not None and count < FEW:
        sentences.append(
            f"Measured on {count:g} samples only: with fewer than {FEW} the bias of a distance can be as large as a "
            "difference between versions."
        )
    if unseen := [each.name.replace("_", " ") for each in battery if each.unseen]:
        sentences.append(
            f"Blind on this data: {wording.joined(unseen)} {'are' if len(unseen) > 1 else 'is'} as near as held-out "
            "reals, so a verdict says nothing about such faults."
        )
    if best is None:
        return sentences
    fooled = [each.name.replace("_", " ") for each in battery if each.must_fail and each.ahead and not each.unseen]
    if fooled:
        verb = "look worse and lie" if len(fooled) > 1 else "looks worse and lies"
        them = f"{wording.joined(fooled)} {verb} ahead of {best.name}"
        sentences.append(f"{them}: a version can win by becoming like that.")
    elif any(member.must_fail for member in battery):
        sentences.append(f"No degraded set that looks worse than {best.name} lies ahead of it.")
    gaussian = findings.anchors.get(metric, {}).get("gaussian")
    mean = best.mean(metric)
    if gaussian is not None and mean is not None:
        values = f"{wording.figure(mean)} against {wording.figure(gaussian)}"
        if mean < gaussian:
            sentences.append(f"{best.name} has passed the Gaussian fitted to all pixels ({values}).")
        else:
            sentences.append(f"No version has passed the Gaussian fitted to all pixels (best: {best.name}, {values}).")
    return sentences


def binding(version: Version) -> str:
    """Return the part that decides the version's leading distance: `layout` or `edges`; empty for other metrics."""
    layout, edges = version.mean("fd_layout_32"), version.mean("fd_edges_64")
    if layout is None or edges is None:
        return ""
    return "layout" if layout > edges else "edges"


def chart(findings: Findings) -> Markup:
    """Return the leading metric as an SVG: a logarithmic axis, one row per version, a dot per seed, lines of anchors.

    Empty if no version has a positive value.
    """
    metric = findings.primary_metric
    rows = [(version, [value for value in version.values(metric).values() if value > 0]) for version in findings.listed]
    rows = [(version, values) for version, values in rows if values]
    anchors = {name: findings.anchors.get(metric, {}).get(name) for name in LINES}
    lines = {name: value for name, value in anchors.items() if value is not None and value > 0}
    if not rows:
        return Markup()
    everything = [*(value for _, values in rows for value in values), *lines.values()]
    low, high = math.log(min(everything) / 1.25), math.log(max(everything) * 1.25)

    def x(value: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - low) / (high - low):.1f}"

    bottom = TOP + ROW * len(rows)
    parts = [
        f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP}" y2="{bottom}"/>'
        f'<text x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        for tick in _ticks(math.exp(low), math.exp(high))
    ]
    for index, (anchor, value) in enumerate(sorted(lines.items(), key=lambda item: item[1])):
        height = TOP - 8 - 12 * (index % 2)  # neighbours may be close
        parts.append(
            f'<line class="mark" x1="{x(value)}" x2="{x(value)}" y1="{TOP - 4}" y2="{bottom}"/>'
            f'<text class="mark" x="{x(value)}" y="{height}" text-anchor="middle">{LINES[anchor]}</text>'
        )
    for row, (version, values) in enumerate(rows):
        y = TOP + ROW * (row + 0.5)
        mean = math.exp(fmean(map(math.log, values)))
        dots = "".join(f'<circle cx="{x(value)}" cy="{y}" r="4"/>' for value in values)
        name = f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(version.name)}</text>'
        parts.append(
            f'<g class="c{version.index}">{name}'
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>{dots}'
            f'<line class="mean" x1="{x(mean)}" x2="{x(mean)}" y1="{y - 8}" y2="{y + 8}"/></g>'
        )
    label = f"{metric} of every version and seed on a logarithmic axis, lower is better"
    return Markup(  # safe: numbers, fixed words and escaped names
        f'<svg class="judge" viewBox="0 0 {WIDTH} {bottom + BOTTOM}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten in between."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for tick in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low < tick < high]
