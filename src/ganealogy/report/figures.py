"""Figures of the Markdown report: curves by matplotlib, and sheets of samples side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from ganealogy.files import atomic, images
from ganealogy.report import palette
from ganealogy.report.findings import Findings, Version
from ganealogy.report.pictures import Gallery
from ganealogy.workspace import REPORT_FIGURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
"""Plotly's line styles → matplotlib's."""
SHEETS = 4
"""Sheets per row of the montage."""
Axis: TypeAlias = Callable[["Version", float], "float | None"]
"""Places a tick of a version, by its kimg, on an axis; None where that is not known."""
CAPTION = 26
"""Height of a sheet's caption, in pixels."""


def curves(findings: Findings) -> Path | None:
    """Draw the tracker's FD, losses and scores against kimg, and FD against operations and time.

    Returns None when no version has a curve.
    """
    if not any(run.ticks for run in findings.runs):
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles = {
        findings.tracker: f"{findings.tracker} during training",
        "d_loss": "D's loss",
        "g_loss": "G's loss",
        "real_score": "D's mean score, real",
        "fake_score": "D's mean score, fake",
    }
    rows: list[Any] = [["top", "top"], ["flops", "time"], ["a", "b"], ["c", "d"]]
    if any(run.series("d_loss_real") for run in findings.runs):  # only some losses have terms
        titles |= {"d_loss_real": "D's loss, real", "d_loss_fake": "D's loss, fake"}
        rows.append(["e", "f"])
    size = 11, 2.2 * (len(rows) + 1)
    figure = Figure(figsize=size, dpi=110, layout="constrained")  # no pyplot: no global state, no display
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic(rows, height_ratios=[1.5, *[1.0] * (len(rows) - 1)])
    panels: list[tuple[str, str, str, Axis, str]] = [
        (name, column, title, _kimg, "kimg")
        for (column, title), name in zip(titles.items(), ["top", *"abcdef"], strict=False)
    ]
    panels += [
        ("flops", findings.tracker, f"{findings.tracker} at equal compute", _flops, "TFLOP"),
        ("time", findings.tracker, f"{findings.tracker} over time", _seconds, "seconds of training"),
    ]
    for name, column, title, axis, label in panels:
        for version in findings.listed:
            _draw(axes[name], version, column, axis)
        axes[name].set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes[name].set_xlabel(label, fontsize=9)
        axes[name].spines[["top", "right"]].set_visible(False)
        axes[name].grid(color="#e4e3df", linewidth=0.7)
        axes[name].tick_params(labelsize=8)
    if any(value > 0 for run in findings.runs for _, value in run.series(findings.tracker)):
        for name in ("top", "flops", "time"):
            axes[name].set_yscale("log")
    axes["top"].legend(ncols=8, fontsize=9, frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    path = findings.root / REPORT_FIGURES / "curves.png"
    atomic.write_bytes(path, buffer.getvalue())
    return path


def montage(findings: Findings, gallery: Gallery) -> Path | None:
    """Draw real pictures and each version's samples (first seed with samples), with captions; None without any."""
    sheets = [("real pictures", gallery.real)] if gallery.real else []
    for version in findings.listed:
        sheets += [(run.label, gallery.samples[run.name]) for run in version.runs if run.name in gallery.samples][:1]
    if not sheets:
        return None
    side = max(sheet.width for _, sheet in sheets)
    gap = 16
    rows = -(-len(sheets) // SHEETS)
    columns = min(SHEETS, len(sheets))
    canvas = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + CAPTION + gap) + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for index, (name, sheet) in enumerate(sheets):
        left, top = gap + index % SHEETS * (side + gap), gap + index // SHEETS * (side + CAPTION + gap)
        canvas.paste(sheet, (left, top))
        pen.text((left, top + side + 4), name, fill="black", font=font)
    path = findings.root / REPORT_FIGURES / "samples.png"
    images.save_png(canvas, path)
    return path


def strips(findings: Findings, gallery: Gallery) -> Path | None:
    """Stack each version's interpolation (first seed that has one); None when no version has one."""
    rows = []
    for version in findings.listed:
        rows += [(run.label, gallery.strips[run.name]) for run in version.runs if run.name in gallery.strips][:1]
    if not rows:
        return None
    width, gap = max(row.width for _, row in rows), 12
    canvas = Image.new("RGB", (width, sum(row.height + CAPTION + gap for _, row in rows)), "white")
    pen, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(16), 0
    for name, row in rows:
        pen.text((2, top + 2), name, fill="black", font=font)
        canvas.paste(row, (0, top + CAPTION))
        top += row.height + CAPTION + gap
    path = findings.root / REPORT_FIGURES / "interpolation.png"
    images.save_png(canvas, path)
    return path


def _kimg(version: Version, kimg: float) -> float | None:
    return kimg


def _flops(version: Version, kimg: float) -> float | None:
    return None if version.flops is None else kimg * version.flops / 1e9


def _seconds(version: Version, kimg: float) -> float | None:
    """Return the mean over seeds of the training time up to there; None if a seed's was not recorded."""
    times = [run.tick_seconds().get(kimg) for run in version.runs if run.ticks]
    known = [time for time in times if time is not None]
    return fmean(known) if known and len(known) == len(times) else None


def _draw(axes: Axes, version: Version, column: str, axis: Axis = _kimg) -> None:
    """Plot the mean where every seed has a value, and the range of the seeds as a band."""
    series = [points for run in version.runs if (points := run.series(column))]
    by_kimg: defaultdict[float, list[float]] = defaultdict(list)
    for points in series:
        for kimg, value in points:
            by_kimg[kimg].append(value)
    ticks = sorted(kimg for kimg, values in by_kimg.items() if len(values) == len(series))
    placed = [(kimg, x) for kimg in ticks if (x := axis(version, kimg)) is not None]
    if not placed:
        return
    ticks, xs = [kimg for kimg, _ in placed], [x for _, x in placed]
    colour, style = palette.colour(version.index)[0], LINES[palette.dash(version.index)]
    axes.plot(
        xs, [fmean(by_kimg[kimg]) for kimg in ticks], color=colour, linestyle=style, linewidth=1.8, label=version.name
    )
    low, high = [min(by_kimg[kimg]) for kimg in ticks], [max(by_kimg[kimg]) for kimg in ticks]
    axes.fill_between(xs, low, high, color=colour, alpha=0.14, linewidth=0)
