"""Data of the page's charts: curves for plotly, and the small axis in a table's cell as inline SVG."""

from __future__ import annotations

from markupsafe import Markup

from ganealogy.report import palette
from ganealogy.report.findings import Findings, Json, Run, Version
from ganealogy.verdicts.estimates import Estimate

POINTS = 300
"""Maximum number of ticks per curve: more cannot be distinguished on a screen."""
CAPTIONS = {
    "d_loss": "D's loss",
    "d_loss_real": "D's loss on real pictures",
    "d_loss_fake": "D's loss on fakes",
    "g_loss": "G's loss",
    "real_score": "D's mean score on real pictures",
    "fake_score": "D's mean score on fakes",
}
NOT_OF_ALL = {"d_loss_real", "d_loss_fake"}
"""Columns that only some losses have, such as those that are a sum of two terms."""
WIDTH, MARGIN = 110, 3


def curves(findings: Findings) -> dict[str, str]:
    """Return column of metrics.jsonl → caption: the tracker's distance and KID if recorded, losses and scores."""
    tracker = str(findings.train.get("tracker", "pixel8"))
    captions = {findings.tracker: "Fréchet distance of the tracker", f"kid_{tracker}": "KID of the tracker", **CAPTIONS}
    recorded = {column for run in findings.runs for tick in run.ticks for column in tick}
    shown = recorded | (CAPTIONS.keys() - NOT_OF_ALL)
    return {column: caption for column, caption in captions.items() if column in shown}


def curve_data(findings: Findings) -> Json:
    """Return version → colours, operations per image and curves; a curve is one [kimg, values, seconds] per seed.

    Seconds are empty if they were not recorded. Numbers have five digits, more than a screen shows.
    """
    data: Json = {}
    clocked = False
    for version in findings.listed:
        light, dark = palette.colour(version.index)
        series = {
            column: [_axes(points, run) for run in version.runs if (points := _thinned(run.series(column)))]
            for column in curves(findings)
        }
        if any(series.values()):
            clocked |= any(seed[2] for seeds in series.values() for seed in seeds)
            data[version.name] = {
                "light": light,
                "dark": dark,
                "dash": palette.dash(version.index),
                "flops": version.flops,
                "series": series,
            }
    counted = any(version["flops"] for version in data.values())
    return {"tracker": findings.tracker, "order": list(data), "versions": data, "clocked": clocked, "counted": counted}


def strip_chart(findings: Findings, version: Version, metric: str, estimate: Estimate | None) -> Markup:
    """Return a small axis with a dot per seed, a bar for the mean's interval, and marks for floor and mean image.

    The axis ends slightly beyond the mean image, or beyond the worst version if none is that bad. A value beyond the
    end is drawn as a ring at the end.
    """
    anchors = findings.anchors.get(metric, {})
    values = [value for other in findings.listed for value in other.values(metric).values()]
    end = max([*values, 1e-12])
    if "mean_image" in anchors:
        end = min(end, 1.15 * anchors["mean_image"]) if end > anchors["mean_image"] else anchors["mean_image"]
    low = min([0.0, *values])
    end = max(end, low + 1e-12) + 0.04 * (max(end, low + 1e-12) - low)

    def x(value: float) -> str:
        fraction = min(max((value - low) / (end - low), 0.0), 1.0)
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * fraction:.1f}"

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
    return Markup(  # safe: numbers and fixed words only
        f'<svg class="dots c{version.index}" viewBox="0 0 {WIDTH} 16" width="{WIDTH}" height="16" aria-hidden="true">'
        f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="8" y2="8"/>{marks}{bar}{dots}</svg>'
    )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most about `POINTS` evenly spaced points, including the first and the last."""
    stride = -(-len(points) // POINTS) or 1
    return [point for index, point in enumerate(points) if index % stride == 0 or index == len(points) - 1]


def _axes(points: list[tuple[float, float]], run: Run) -> list[list[float]]:
    seconds = run.tick_seconds()
    kimg, values = ([_short(value) for value in axis] for axis in zip(*points, strict=True))
    return [kimg, values, [_short(seconds[at]) for at, _ in points] if seconds else []]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
