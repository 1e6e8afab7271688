"""`reports/index.html`: one page with everything inside it, that asks nothing of any network."""

from __future__ import annotations

import base64
import gzip
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ganealogy.files import atomic
from ganealogy.report import charts, columns, mlflow_links, palette, pictures, wording
from ganealogy.report.findings import ANCHORS, Findings, Version
from ganealogy.report.judged import Judged, effect, effect_range, interval, rule, standing, word
from ganealogy.report.numbers import tracked_distance
from ganealogy.report.pictures import GRID_SIDE, Gallery, crop, data_uri
from ganealogy.report.troubles import troubles, why_none, worsened
from ganealogy.verdicts.significance import SEEDS_NEEDED, WORDS, Verdict

if TYPE_CHECKING:
    from PIL import Image

PAGE = Path("reports/index.html")
LIVE = Path("reports/live.html")
"""What `make live` writes; it is too large to be part of the page."""
ALWAYS_THERE = ("checkpoints", "cost", "exact change")
"""Buttons of the table's columns that no metric stands behind."""
ARXIV = re.compile(r"\barXiv[: ]+(\d{4}\.\d{4,5})")


def write_page(findings: Findings, gallery: Gallery) -> Path:
    """Render the findings and their pictures to `reports/index.html`; equal inputs give equal bytes."""
    path = findings.root / PAGE
    atomic.write_text(path, render(findings, gallery))
    return path


def environment(*told: Callable[..., Any], beside: str | None = None) -> Environment:
    """Jinja for a page: everything escaped, our words for numbers, and the functions given by their own names.

    `beside`: another package whose templates may use these.
    """
    packages = [PackageLoader(name) for name in ("ganealogy.report", beside) if name is not None]
    made = Environment(
        loader=ChoiceLoader(packages),
        autoescape=True,  # titles, ideas and notes are other people's words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = (wording.figure, wording.count, wording.duration, wording.memory)
    made.filters |= {write.__name__: write for write in written} | {"linked": linked, "depth": _depth}
    made.globals |= {tell.__name__: tell for tell in told} | {"wording": wording}
    return made


def render(findings: Findings, gallery: Gallery) -> str:
    """The page as text."""
    told = (
        effect,
        effect_range,
        standing,
        interval,
        worsened,
        troubles,
        why_none,
        columns.direction,
        charts.strip_chart,
    )
    judged = Judged.of(findings)
    families = columns.families(findings)
    return (
        environment(*told)
        .get_template("page.html")
        .render(
            verdict_word=word,
            findings=findings,
            shown=_shown(gallery),
            live=(findings.root / LIVE).is_file(),
            judged=judged,
            tally=tally(judged.verdicts.get(findings.lead, {})),
            seeds_needed=SEEDS_NEEDED,
            rule=rule(judged.verdicts.get(findings.lead, {})),
            metrics=columns.ordered(findings),
            family_of={metric: family for family, members in families.items() for metric in members},
            column_families=[*families, *ALWAYS_THERE],
            folded=[*families, "exact change"],
            anchors=ANCHORS,
            frames_data=_labelled_frames(findings, gallery.frames),
            tracked=_tracked(findings),
            by_depth=_longest_line_first,
            curves=charts.curves(findings),
            curves_data=charts.curve_data(findings),
            ticks=max((len(series) for series in gallery.frames.values()), default=0),
            yaml=_as_yaml,
            hosts=hosts(findings),
            mlflow=mlflow_links.found([run.digest for run in findings.runs if run.digest]),
            protocols=columns.protocols(findings),
            palette=[palette.colour(index) for index in range(len(findings.versions))],
            styles=Markup(static("theme.css") + static("page.css")),
            scripts=[Markup(static(name)) for name in ("theme.js", "table.js", "pictures.js", "zoom.js", "curves.js")],
            plotly=plotly_archive() if any(run.ticks for run in findings.runs) else "",
        )
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


def tally(verdicts: Mapping[str, Verdict]) -> list[tuple[int, Verdict]]:
    """How many children got each verdict, with one of those that did, in the order of the words."""
    counts = Counter(verdict.word for verdict in verdicts.values())
    one = {verdict.word: verdict for verdict in verdicts.values()}
    return [(counts[word], one[word]) for word in WORDS if word in counts]


def hosts(findings: Findings) -> list[tuple[str, list[str]]]:
    """Where the runs were trained: (machine and software, names of the runs), most runs first."""
    found: dict[str, list[str]] = {}
    for run in findings.runs:
        if run.cost:
            device = run.cost.get("device_name") or run.cost.get("device", "device unknown")
            count = run.cost.get("threads")
            threads = wording.plural(count, "thread") if isinstance(count, int) else "threads unknown"
            software = f"torch {run.cost.get('torch', '?')}, Python {run.cost.get('python', '?')}"
            arithmetic = f", {run.cost['arithmetic']}" if run.cost.get("arithmetic") else ""
            found.setdefault(f"{device}, {threads}, {software}{arithmetic}", []).append(run.name)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def _shown(gallery: Gallery) -> dict[str, Any]:
    """The pictures as URIs; a version's thumbnail is from its first seed that has samples."""
    first: dict[str, Image.Image] = {}
    for key, sheet in gallery.samples.items():
        first.setdefault(key.rpartition("-")[0], sheet)
    samples, (columns, _, _) = pictures.fitted(gallery.samples, pictures.SAMPLES)
    return {
        "samples": samples,
        "columns": columns,
        "thumbnails": pictures.fitted(first, pictures.THUMBNAILS)[0],
        "real": data_uri(crop(gallery.real, columns)) if gallery.real else None,
        "banner": data_uri(crop(gallery.real, GRID_SIDE, 3)) if gallery.real else None,
        "strips": pictures.fitted(gallery.strips, pictures.STRIPS)[0],
        "neighbours": pictures.fitted(gallery.neighbours, pictures.NEIGHBOURS)[0],
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


def static(name: str) -> str:
    """A file of the package's static/."""
    return files("ganealogy.report").joinpath("static", name).read_text(encoding="utf-8")
