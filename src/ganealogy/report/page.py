"""`reports/index.html`: one page with everything inside it, that asks nothing of any network."""

from __future__ import annotations

import base64
import gzip
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ganealogy import atomic
from ganealogy.report import palette, wording
from ganealogy.report.collect import ANCHORS, Findings, Version
from ganealogy.report.numbers import tracked_distance
from ganealogy.report.pictures import GRID_SIDE, Gallery, crop, data_uri

PAGE = Path("reports/index.html")
THUMBNAIL_SIDE = 3
CURVES = ("d_loss", "g_loss", "real_score", "fake_score")
ARXIV = re.compile(r"\barXiv[: ]+(\d{4}\.\d{4,5})")


def write_page(findings: Findings, gallery: Gallery) -> Path:
    """Render the findings and their pictures to `reports/index.html`; equal inputs give equal bytes."""
    path = findings.root / PAGE
    atomic.write_text(path, render(findings, gallery))
    return path


def render(findings: Findings, gallery: Gallery) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("ganealogy.report"),
        autoescape=True,  # titles, ideas and notes are other people's words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = (wording.figure, wording.count, wording.duration, wording.memory)
    environment.filters |= {write.__name__: write for write in written} | {"linked": linked, "depth": _depth}
    environment.globals |= {"wording": wording, "strip_chart": strip_chart}
    return environment.get_template("page.html").render(
        findings=findings,
        shown=_shown(gallery),
        metrics=findings.metrics,
        anchors=ANCHORS,
        frames_data=_labelled_frames(findings, gallery.frames),
        tracked=_tracked(findings),
        by_depth=_longest_line_first,
        curves_data=curve_data(findings),
        ticks=max((len(series) for series in gallery.frames.values()), default=0),
        yaml=_as_yaml,
        hosts=hosts(findings),
        protocols=metric_protocols(findings),
        palette=[palette.colour(index) for index in range(len(findings.versions))],
        styles=Markup(_static("page.css")),
        scripts=[Markup(_static(name)) for name in ("theme.js", "table.js", "pictures.js", "curves.js")],
        plotly=plotly_archive() if any(run.ticks for run in findings.runs) else "",
    )


def linked(text: str) -> Markup:
    """Escaped text whose arXiv numbers and addresses are links."""
    safe = str(escape(text))
    safe = ARXIV.sub(r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv \1</a>', safe)
    return Markup(re.sub(r'(?<!")https://[^\s<>"]+[^\s<>".,;)]', r'<a href="\g<0>" rel="noreferrer">\g<0></a>', safe))


@cache
def plotly_archive() -> str:
    """plotly.js from the installed package, gzip and base64: 2 MB in place of 5, unpacked when a chart comes near."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def curve_data(findings: Findings) -> dict[str, Any]:
    """Version → colours and, for each curve, [kimg, values] a seed; five digits are more than a screen shows."""
    columns = (findings.tracker, *CURVES)
    data: dict[str, Any] = {}
    for version in findings.listed:
        light, dark = palette.colour(version.index)
        series = {
            column: [_axes(points) for run in version.runs if (points := run.series(column))] for column in columns
        }
        if any(series.values()):
            data[version.name] = {"light": light, "dark": dark, "dash": palette.dash(version.index), "series": series}
    return {"tracker": findings.tracker, "order": list(data), "versions": data}


def _axes(points: list[tuple[float, float]]) -> list[list[float]]:
    return [[float(f"{value:.5g}") for value in axis] for axis in zip(*points, strict=True)]


def strip_chart(findings: Findings, version: Version, metric: str) -> Markup:
    """A small axis from zero to the mean image with a dot a seed and a tick for each anchor, as inline SVG."""
    values = version.values(metric)
    anchors = findings.anchors.get(metric, {})
    everyone = [value for other in findings.listed for value in other.values(metric).values()]
    end = max([*everyone, anchors.get("mean_image", 0.0), 1e-12]) * 1.04
    low = min([0.0, *everyone])

    def x(value: float) -> str:
        return f"{3 + 104 * (value - low) / (end - low):.1f}"

    marks = "".join(
        f'<line class="mark {name}" x1="{x(value)}" x2="{x(value)}" y1="2" y2="14"/>'
        for name, value in anchors.items()
        if name in ("floor", "mean_image") and low <= value <= end
    )
    dots = "".join(f'<circle cx="{x(value)}" cy="8" r="3.6"/>' for value in values.values())
    return Markup(  # numbers and our own words only
        f'<svg class="dots c{version.index}" viewBox="0 0 110 16" width="110" height="16" aria-hidden="true">'
        f'<line class="axis" x1="3" x2="107" y1="8" y2="8"/>{marks}{dots}</svg>'
    )


def hosts(findings: Findings) -> list[tuple[str, list[str]]]:
    """Where the runs were trained: (machine and software, names of the runs), most runs first."""
    found: dict[str, list[str]] = {}
    for run in findings.runs:
        if run.cost:
            device = run.cost.get("device_name") or run.cost.get("device", "device unknown")
            threads = f"{run.cost.get('threads', '?')} threads"
            software = f"torch {run.cost.get('torch', '?')}, Python {run.cost.get('python', '?')}"
            found.setdefault(f"{device}, {threads}, {software}", []).append(run.name)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def metric_protocols(findings: Findings) -> list[tuple[str, dict[str, Any]]]:
    """For each metric the one protocol that its numbers in the table share."""
    table = []
    for metric in findings.metrics:
        ways = [run.protocols[metric] for run in findings.runs if metric in run.metrics and metric in run.protocols]
        table.append((metric, ways[0] if ways else {}))
    return table


def _shown(gallery: Gallery) -> dict[str, Any]:
    """The pictures as URIs; a version's thumbnail is from its first seed that has samples."""
    thumbnails: dict[str, str] = {}
    for key, sheet in gallery.samples.items():
        thumbnails.setdefault(key.rpartition("-")[0], data_uri(crop(sheet, THUMBNAIL_SIDE)))
    return {
        "samples": {key: data_uri(sheet) for key, sheet in gallery.samples.items()},
        "thumbnails": thumbnails,
        "real": data_uri(gallery.real) if gallery.real else None,
        "banner": data_uri(crop(gallery.real, GRID_SIDE, 3)) if gallery.real else None,
        "strips": {key: data_uri(strip) for key, strip in gallery.strips.items()},
        "walks": gallery.walks,
    }


def _labelled_frames(findings: Findings, frames: dict[str, list[tuple[int, str]]]) -> dict[str, list[dict[str, str]]]:
    """Each grid with the words under it: how far training was when it was drawn."""
    labelled = {}
    for run in findings.runs:
        if run.key in frames:
            kimg = {tick.get("step"): f"{wording.figure(tick.get('kimg'))} kimg" for tick in run.ticks}
            labelled[run.key] = [{"uri": uri, "label": kimg.get(step, f"step {step}")} for step, uri in frames[run.key]]
    return labelled


def _tracked(findings: Findings) -> dict[str, Any]:
    frame = tracked_distance(findings)
    rows = [(kimg, list(row)) for kimg, row in zip(frame.index, frame.itertuples(index=False), strict=True)]
    return {"columns": list(frame.columns), "rows": rows}


def _longest_line_first(versions: list[Version]) -> list[Version]:
    """Siblings in the order of the tree: the main line then goes straight on from its parent."""
    return sorted(versions, key=_depth, reverse=True)


def _as_yaml(recipe: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


def _depth(version: Version) -> int:
    return 1 + max(map(_depth, version.children), default=0)


def _static(name: str) -> str:
    return files("ganealogy.report").joinpath("static", name).read_text(encoding="utf-8")
