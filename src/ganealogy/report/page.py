"""`reports/index.html`: one self-contained page that loads nothing from a network."""

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
from ganealogy.report import charts, columns, judge, noise, palette, pictures, second_opinions, wording
from ganealogy.report.ablation import ablation_tables
from ganealogy.report.class_tables import class_tables
from ganealogy.report.compute import fairness
from ganealogy.report.conclusions import remark
from ganealogy.report.films import film_name
from ganealogy.report.findings import ANCHORS, Findings, Json, Version
from ganealogy.report.numbers import tracked_distance
from ganealogy.report.outcome import against_sentences, basis, outcome
from ganealogy.report.pictures import GRID_SIDE, Gallery, crop, data_uri
from ganealogy.report.problems import problems, reason_missing, worsened
from ganealogy.report.verdict_table import (
    VerdictTable,
    at_look,
    bundle,
    css_class,
    decision_rule,
    effect,
    effect_range,
    family,
    interval,
    no_interval,
    verdict_label,
)
from ganealogy.verdicts.looks import SEEDS_NEEDED
from ganealogy.verdicts.significance import EQUIVALENT, WORDS, Verdict
from ganealogy.workspace import LIVE_PAGE, REPORT_PAGE, REPORT_PROGRESS

if TYPE_CHECKING:
    from PIL import Image

FIXED_FAMILIES = ("checkpoints", "equal compute", "cost", "exact change")
"""Buttons of the table for columns that are no metrics."""
ARXIV = re.compile(r"\barXiv[: ]+(\d{4}\.\d{4,5})")


def write_page(findings: Findings, gallery: Gallery, run_links: dict[str, str]) -> Path:
    """Render findings and pictures to `reports/index.html`; equal inputs give equal bytes."""
    path = findings.root / REPORT_PAGE
    atomic.write_text(path, render(findings, gallery, run_links))
    return path


def environment(*functions: Callable[..., Any], package: str | None = None) -> Environment:
    """Return Jinja's environment for a page: escaping, number filters, and `functions` under their own names.

    `package`: another package with templates, which may include the report's.
    """
    packages = [PackageLoader(name) for name in ("ganealogy.report", package) if name is not None]
    jinja = Environment(
        loader=ChoiceLoader(packages),
        autoescape=True,  # titles, ideas and notes are untrusted text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (wording.figure, wording.count, wording.duration, wording.memory, wording.operations, linked)
    jinja.filters |= {function.__name__: function for function in filters} | {"depth": _depth}
    jinja.globals |= {function.__name__: function for function in functions} | {"wording": wording}
    return jinja


SCRIPTS = ("theme.js", "merges.js", "table.js", "pictures.js", "zoom.js", "curves.js")


def render(findings: Findings, gallery: Gallery, run_links: dict[str, str] | None = None) -> str:
    """Return the page as text. `run_links`: run key → address of its MLflow run."""
    functions = (
        effect,
        effect_range,
        at_look,
        verdict_label,
        css_class,
        bundle,
        interval,
        no_interval,
        worsened,
        problems,
        remark,
        reason_missing,
        columns.direction,
        fairness,
        charts.strip_chart,
        film_name,
    )
    verdicts = VerdictTable.of(findings)
    families = columns.families(findings)
    return (
        environment(*functions)
        .get_template("page.html")
        .render(
            findings=findings,
            shown=_picture_uris(gallery),
            live=(findings.root / LIVE_PAGE).is_file(),
            verdicts=verdicts,
            outcome=outcome(findings, verdicts.verdicts),
            against_sentences=against_sentences(verdicts.against),
            basis=basis(findings),
            tally=tally(verdicts.verdicts),
            seeds_needed=SEEDS_NEEDED,
            rule=decision_rule(verdicts.verdicts),
            family_note=family(findings),
            noise=noise.section(findings),
            class_tables=class_tables(findings),
            ablations=ablation_tables(findings, verdicts.verdicts),
            marks=second_opinions.marks(findings, verdicts.verdicts),
            others=second_opinions.other_means(findings),
            by_other=second_opinions.other_heading(findings),
            metrics=columns.all_columns(findings),
            family_of={metric: family for family, members in families.items() for metric in members},
            column_families=[*families, *FIXED_FAMILIES],
            folded=[*families, "equal compute", "exact change"],
            anchors=ANCHORS,
            judge=judge,
            frames_data=_labelled_frames(findings, gallery.frames),
            tracked=_tracked(findings),
            by_depth=_deepest_first,
            curves=charts.curves(findings),
            curves_data=charts.curve_data(findings),
            ticks=max((len(series) for series in gallery.frames.values()), default=0),
            yaml=_as_yaml,
            hosts=hosts(findings),
            run_links=run_links or {},
            progress=REPORT_PROGRESS.name,
            protocols=columns.protocols(findings),
            palette=[palette.colour(index) for index in range(len(findings.versions))],
            styles=Markup(static("theme.css") + static("page.css")),
            scripts=[Markup(static(name)) for name in SCRIPTS],
            plotly=plotly_archive() if any(run.ticks for run in findings.runs) else "",
        )
    )


def linked(text: str) -> Markup:
    """Escape text and turn its arXiv numbers and https addresses into links."""
    safe = str(escape(text))
    safe = ARXIV.sub(r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv \1</a>', safe)
    return Markup(re.sub(r'(?<!")https://[^\s<>"]+[^\s<>".,;)]', r'<a href="\g<0>" rel="noreferrer">\g<0></a>', safe))


@cache
def plotly_archive() -> str:
    """Return the installed plotly.js as gzip in base64: 2 MB instead of 5, unpacked before the first chart shows."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def tally(verdicts: Mapping[str, Verdict]) -> list[tuple[int, Verdict]]:
    """Return (number of children, verdict) for each word that occurs, in the order of `WORDS`.

    The verdict has only what all of them share: the word, and the margin of an equivalence.
    """
    counts = Counter(verdict.word for verdict in verdicts.values())
    margin = {verdict.word: verdict.detail for verdict in verdicts.values() if verdict.word == EQUIVALENT}
    return [(counts[word], Verdict(word, detail=margin.get(word, ""))) for word in WORDS if word in counts]


def hosts(findings: Findings) -> list[tuple[str, list[str]]]:
    """Return (machine and software, labels of the runs trained with it), most runs first."""
    labels: dict[str, list[str]] = {}
    for run in findings.runs:
        if run.cost:
            device = run.cost.get("device_name") or run.cost.get("device", "device unknown")
            count = run.cost.get("threads")
            threads = wording.plural(count, "thread") if isinstance(count, int) else "threads unknown"
            software = f"torch {run.cost.get('torch', '?')}, Python {run.cost.get('python', '?')}"
            arithmetic = f", {run.cost['arithmetic']}" if run.cost.get("arithmetic") else ""
            labels.setdefault(f"{device}, {threads}, {software}{arithmetic}", []).append(run.label)
    return sorted(labels.items(), key=lambda item: (-len(item[1]), item[0]))


def _picture_uris(gallery: Gallery) -> Json:
    """Return the pictures as URIs; a version's thumbnail is from its first seed with samples."""
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
        "classes": pictures.fitted(gallery.classes, pictures.CLASSES)[0],
    }


def _labelled_frames(findings: Findings, frames: dict[str, list[tuple[int, str]]]) -> dict[str, list[dict[str, str]]]:
    """Return each run's grids with captions: the training progress at which they were drawn."""
    labelled = {}
    for run in findings.runs:
        if run.name in frames:
            kimg = {tick.get("step"): f"{wording.figure(tick.get('kimg'))} kimg" for tick in run.ticks}
            labelled[run.name] = [
                {"uri": uri, "label": kimg.get(step, f"step {step}")} for step, uri in frames[run.name]
            ]
    return labelled


def _tracked(findings: Findings) -> Json:
    frame = tracked_distance(findings)
    rows = [(kimg, list(row)) for kimg, row in zip(frame.index, frame.itertuples(index=False), strict=True)]
    return {"columns": list(frame.columns), "rows": rows}


def _deepest_first(versions: list[Version]) -> list[Version]:
    """Sort siblings by depth of their subtree, so that the longest line continues straight from its parent."""
    return sorted(versions, key=_depth, reverse=True)


def _as_yaml(recipe: Json) -> str:
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _depth(version: Version) -> int:
    return 1 + max(map(_depth, version.children), default=0)


def static(name: str) -> str:
    """Return the text of a file in static/."""
    return files("ganealogy.report").joinpath("static", name).read_text(encoding="utf-8")
