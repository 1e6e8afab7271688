"""`reports/report.md`: the same findings for a git host, with PNG figures beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ganealogy import atomic
from ganealogy.report import figures, wording
from ganealogy.report.collect import ANCHORS, Findings, Version
from ganealogy.report.pictures import Gallery

REPORT = Path("reports/report.md")


def write_markdown(findings: Findings, gallery: Gallery) -> Path:
    """Write `reports/report.md` and its figures under `reports/report/`."""
    path = findings.root / REPORT
    drawn = {"samples": figures.montage(findings, gallery), "curves": figures.curves(findings)}
    atomic.write_text(path, render(findings, {name: f"report/{file.name}" for name, file in drawn.items() if file}))
    return path


def render(findings: Findings, drawn: dict[str, str]) -> str:
    """The report as Markdown; `drawn` is figure → path beside it."""
    environment = Environment(
        loader=PackageLoader("ganealogy.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False, finalize=_finalize,  # Markdown has its own escapes: the filter `plain`
    )  # fmt: skip
    environment.filters |= {"figure": wording.figure, "count": wording.count, "plain": plain}
    text = environment.get_template("report.md").render(
        findings=findings,
        wording=wording,
        drawn=drawn,
        leaderboard=table(leaderboard(findings)),
        costs=table(costs(findings)),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def leaderboard(findings: Findings) -> list[dict[str, str]]:
    """One row a version, then the anchors: mean over seeds, then each seed's value."""
    rows = []
    for version in findings.listed:
        name = f"**{version.name}** {plain(version.title)}"
        row = {"version": name, "parent": version.parent or "–", "what changed": _changed(version)}
        rows.append(row | {f"`{metric}` ↓": _cell(findings, version, metric) for metric in findings.metrics})
    for anchor in ANCHORS:
        if any(anchor in known for known in findings.anchors.values()):
            described = plain(findings.anchors_described[anchor])
            row = {"version": f"*{anchor.replace('_', ' ')}*", "parent": "", "what changed": described}
            values = {metric: findings.anchors.get(metric, {}).get(anchor) for metric in findings.metrics}
            rows.append(row | {f"`{metric}` ↓": wording.figure(value) for metric, value in values.items()})
    return rows


def costs(findings: Findings) -> list[dict[str, str]]:
    """One row a version: parameters, time, speed, memory; means over seeds."""
    return [
        {
            "version": version.name,
            "G": wording.count(version.parameters.get("generator")),
            "D": wording.count(version.parameters.get("discriminator")),
            "training, a seed": wording.duration(version.cost("seconds")),
            "images/s": wording.count(version.cost("images_per_second")),
            "memory": wording.memory(version.cost("peak_memory_bytes")),
            "status": plain("; ".join(f"seed {run.seed} {run.status}" for run in version.troubles) or "finished"),
        }
        for version in findings.listed
    ]


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table; what is in the cells is Markdown already."""
    if not rows:
        return ""
    import pandas as pd

    frame = pd.DataFrame(rows)
    numeric = ("`", "G", "D", "training", "images", "memory")
    align = ["right" if str(column).startswith(numeric) else "left" for column in frame.columns]
    text: str = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
    return re.sub(r" {2,}", " ", re.sub(r"-{4,}", "---", text))


def plain(text: str) -> str:
    """Other people's words, so that they neither become HTML nor Markdown nor end a table's cell."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def _cell(findings: Findings, version: Version, metric: str) -> str:
    values = version.values(metric)
    if not values:
        return "–"
    mean = wording.figure(version.mean(metric))
    seeds = " · ".join(map(wording.figure, values.values()))
    ranked = "" if findings.passed(version, metric) is not False else " †"
    return f"{mean}{ranked} ({seeds})" if len(findings.seeds) > 1 else f"{mean}{ranked}"


def _changed(version: Version) -> str:
    if version.parent is None:
        return "root"
    lines = [f"`{change.key}` {plain(change.values)}" for change in version.changes]
    return "<br>".join(lines) or "nothing but the words"


def _finalize(value: Any) -> Any:
    return "–" if value is None else value
