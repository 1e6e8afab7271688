"""What the page's charts are drawn from: curves for plotly, and the small axis of a table's cell as inline SVG."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ganealogy.report import palette
from ganealogy.report.findings import Findings, Run, Version
from ganealogy.verdicts.significance import Estimate

POINTS = 300
"""Ticks of a curve at most: more than a screen shows apart."""
FIXED = {
    "d_loss": "D's loss",
    "g_loss": "G's loss",
    "real_score": "D's mean score on real pictures",
    "fake_score": "D's mean score on fakes",
}
WIDTH, MARGIN = 110, 3


def curves(findings: Findings) -> dict[str, str]:
    """Column of metrics.jsonl → caption: the tracker's distance and KID, losses, scores; those recorded."""
    tracker = str(findings.train.get("tracker", "pixel8"))
    captions = {
        findings.tracker: "Fréchet distance of the tracker",
        f"kid_{tracker}": "KID of the tracker",
        **FIXED,
    }
    recorded = {column for run in findings.runs for tick in run.ticks for column in tick}
    return {column: caption for column, caption in captions.items() if column in recorded or column in FIXED}


def curve_data(findings: Findings) -> dict[str, Any]:
    """Version → colours and, for each curve, [kimg, values, seconds] a seed; the seconds are empty where no clock ran.

    Five digits are more than a screen shows.
    """
    data: dict[str, Any] = {}
    clocked = False
    for version in findings.listed:
        light, dark = palette.colour(version.index)
        series = {
            column: [_axes(points, run) for run in version.runs if (points := _thinned(run.series(column)))]
            for column in curves(findings)
        }
        if any(series.values()):
            clocked |= any(seed[2] for seeds in series.values() for seed in seeds)
            data[version.name] = {"light": light, "dark": dark, "dash": palette.dash(version.index), "series": series}
    return {"tracker": findings.tracker, "order": list(data), "versions": data, "clocked": clocked}


def strip_chart(findings: Findings, version: Version, metric: str, estimate: Estimate | None) -> Markup:
    """A small axis with a dot a seed, a bar for the interval of the mean and a mark for floor and mean image.

    It ends a little past the mean image, or past the worst version where none is that bad; what lies beyond stands at
    the end as a ring.
    """
    anchors = findings.anchors.get(metric, {})
    everyone = [value for other in findings.listed for value in other.values(metric).values()]
    end = max([*everyone, 1e-12])
    if "mean_image" in anchors:
        end = min(end, 1.15 * anchors["mean_image"]) if end > anchors["mean_image"] else anchors["mean_image"]
    low = min([0.0, *everyone])
    end = max(end, low + 1e-12) + 0.04 * (max(end, low + 1e-12) - low)

    def x(value: float) -> str:
        share = min(max((value - low) / (end - low), 0.0), 1.0)
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * share:.1f}"

    marks = "".join(
        f'<line class="mark {name}" x1="{x(value)}" x2="{x(value)}" y1="2" y2="14"/>'
        for name, value in anchors.items()
        if name in ("floor", "mean_image") and low <= value <= end
    )
    bar = ""
    if estimate is not None and estimate.low is not None and estimate.high is not None:
        bar = f'<line class="interval" x1="{x(estimate.low)}" x2="{x(estimate.high)}" y1="8" y2="8"/>'
    dots = "".join(
        f'<circle cx="{x(value)}" cy="8" r="3.4"{" class=beyond" if value > end else ""}/>'
        for value in version.values(metric).values()
    )
    return Markup(  # numbers and our own words only
        f'<svg class="dots c{version.index}" viewBox="0 0 {WIDTH} 16" width="{WIDTH}" height="16" aria-hidden="true">'
        f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="8" y2="8"/>{marks}{bar}{dots}</svg>'
    )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Evenly spread ones, the first and the last among them."""
    stride = -(-len(points) // POINTS) or 1
    return [point for index, point in enumerate(points) if index % stride == 0 or index == len(points) - 1]


def _axes(points: list[tuple[float, float]], run: Run) -> list[list[float]]:
    clocks = run.clocks()
    kimg, values = ([_short(value) for value in axis] for axis in zip(*points, strict=True))
    return [kimg, values, [_short(clocks[at]) for at, _ in points] if clocks else []]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
