"""Figures of the Markdown report: curves by matplotlib, and sheets of samples side by side."""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

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
CAPTION = 26
"""Height of a sheet's caption, in pixels."""


def curves(findings: Findings) -> Path | None:
    """Draw the tracker's FD, losses and scores against kimg; None when no version has a curve."""
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
    figure = Figure(figsize=(11, 8.5), dpi=110, layout="constrained")  # no pyplot: no global state, no display
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["top", "top"], ["a", "b"], ["c", "d"]], height_ratios=[1.5, 1, 1])
    for (column, title), name in zip(titles.items(), ("top", "a", "b", "c", "d"), strict=True):
        for version in findings.listed:
            _draw(axes[name], version, column)
        axes[name].set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes[name].set_xlabel("kimg", fontsize=9)
        axes[name].spines[["top", "right"]].set_visible(False)
        axes[name].grid(color="#e4e3df", linewidth=0.7)
        axes[name].tick_params(labelsize=8)
    if any(value > 0 for run in findings.runs for _, value in run.series(findings.tracker)):
        axes["top"].set_yscale("log")
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


def _draw(axes: Axes, version: Version, column: str) -> None:
    """Plot the mean where every seed has a value, and the range of the seeds as a band."""
    series = [points for run in version.runs if (points := run.series(column))]
    by_kimg: defaultdict[float, list[float]] = defaultdict(list)
    for points in series:
        for kimg, value in points:
            by_kimg[kimg].append(value)
    xs = sorted(kimg for kimg, values in by_kimg.items() if len(values) == len(series))
    if not xs:
        return
    colour, style = palette.colour(version.index)[0], LINES[palette.dash(version.index)]
    axes.plot(xs, [fmean(by_kimg[x]) for x in xs], color=colour, linestyle=style, linewidth=1.8, label=version.name)
    low, high = [min(by_kimg[x]) for x in xs], [max(by_kimg[x]) for x in xs]
    axes.fill_between(xs, low, high, color=colour, alpha=0.14, linewidth=0)
