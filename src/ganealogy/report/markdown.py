"""`reports/report.md`: the same findings for a git host, with PNG figures beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ganealogy.files import atomic
from ganealogy.report import columns, figures, wording
from ganealogy.report.columns import direction
from ganealogy.report.findings import ANCHORS, Findings, Version
from ganealogy.report.judged import Judged, effect, interval, rule, word
from ganealogy.report.pictures import Gallery
from ganealogy.report.troubles import troubles

REPORT = Path("reports/report.md")


def write_markdown(findings: Findings, gallery: Gallery) -> Path:
    """Write `reports/report.md` and its figures under `reports/report/`."""
    path = findings.root / REPORT
    drawn = {
        "samples": figures.montage(findings, gallery),
        "strips": figures.strips(findings, gallery),
        "curves": figures.curves(findings),
    }
    atomic.write_text(path, render(findings, {name: f"report/{file.name}" for name, file in drawn.items() if file}))
    return path


def render(findings: Findings, drawn: dict[str, str]) -> str:
    """The report as Markdown; `drawn` is figure → path beside it."""
    environment = Environment(
        loader=PackageLoader("ganealogy.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False, finalize=_finalize,  # Markdown has its own escapes: the filter `plain`
    )  # fmt: skip
    environment.filters |= {"figure": wording.figure, "count": wording.count, "plain": plain}
    judged = Judged.of(findings)
    text = environment.get_template("report.md").render(
        findings=findings,
        wording=wording,
        drawn=drawn,
        leaderboard=table(leaderboard(findings, judged, columns.leading(findings))),
        others=table(others(findings, judged)),
        family=family(findings, judged),
        costs=table(costs(findings)),
        protocols=columns.protocols(findings),
        judged=judged,
        rule=rule(judged.verdicts.get(findings.lead, {})),
        effect=effect,
        verdict_word=word,
        troubles=troubles,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def family(findings: Findings, judged: Judged) -> str:
    """The tree as nested lists: each version with its mean, and on what its idea did to its parent."""
    lines: list[str] = []

    def walk(version: Version, depth: int) -> None:
        told = [f"**{version.name}** {plain(version.title)}"]
        if version.listed:
            told.append(wording.figure(version.mean(findings.lead)))
        verdict = judged.verdict(findings.lead, version)
        if verdict is not None:
            told.append(f"{effect(findings.lead, verdict)} {word(verdict)}".strip())
        told += [f"*{plain(line.short)}*" for line in troubles(version)]
        lines.append("  " * depth + "- " + " · ".join(told))
        for child in version.children:
            walk(child, depth + 1)

    for root in findings.roots:
        walk(root, 0)
    return "\n".join(lines)


def leaderboard(findings: Findings, judged: Judged, metrics: list[str]) -> list[dict[str, str]]:
    """One row a version, then the anchors: mean over seeds with its interval, then each seed's value."""
    rows = []
    for version in findings.listed:
        best, last = version.at_best_and_last(findings.tracker)
        row = {
            "version": f"**{version.name}** {plain(version.title)}",
            "parent": version.parent or "–",
            "what changed": _changed(version),
            "against parent": _against(findings, judged, version),
        }
        row |= {_heading(metric): _cell(findings, judged, version, metric) for metric in metrics}
        rows.append(row | {"best → last": f"{wording.figure(best)} → {wording.figure(last)}"})
    for anchor in ANCHORS:
        if any(anchor in known for known in findings.anchors.values()):
            described = plain(findings.anchors_described[anchor])
            row = {"version": f"*{anchor.replace('_', ' ')}*", "parent": "", "what changed": described}
            values = {metric: findings.anchors.get(metric, {}).get(anchor) for metric in metrics}
            row |= {"against parent": ""} | {
                _heading(metric): wording.figure(value) for metric, value in values.items()
            }
            rows.append(row | {"best → last": ""})
    return rows


def others(findings: Findings, judged: Judged) -> list[dict[str, str]]:
    """One row a metric that does not lead, a column a version: there are more metrics than a page is wide."""
    shown = columns.leading(findings)
    return [
        {"metric": _heading(metric)}
        | {version.name: _cell(findings, judged, version, metric, seeds=False) for version in findings.listed}
        for metric in columns.ordered(findings)
        if metric not in shown
    ]


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
            "status": plain("; ".join(line.long for line in troubles(version)) or "finished"),
        }
        for version in findings.listed
    ]


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table; what is in the cells is Markdown already."""
    if not rows:
        return ""
    import pandas as pd

    frame = pd.DataFrame(rows)
    numeric = ("`", "G", "D", "training", "images", "memory", "best")
    align = ["right" if str(column).startswith(numeric) else "left" for column in frame.columns]
    text: str = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
    return re.sub(r" {2,}", " ", re.sub(r"-{4,}", "---", text))


def plain(text: str) -> str:
    """Other people's words, so that they neither become HTML nor Markdown nor end a table's cell."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def _heading(metric: str) -> str:
    return f"`{metric}` {direction(metric)}".strip()


def _cell(findings: Findings, judged: Judged, version: Version, metric: str, seeds: bool = True) -> str:
    values = version.values(metric)
    if not values:
        return "–"
    mean = wording.figure(version.mean(metric))
    ranked = "" if findings.passed(version, metric) is not False else " †"
    around = interval(judged.estimate(metric, version))
    told = f"{mean}{ranked}" + (f" ({around})" if around else "")
    return f"{told}<br>{' · '.join(map(wording.figure, values.values()))}" if seeds and len(values) > 1 else told


def _against(findings: Findings, judged: Judged, version: Version) -> str:
    verdict = judged.verdict(findings.lead, version)
    return "–" if verdict is None else f"{effect(findings.lead, verdict)} {word(verdict)}".strip()


def _changed(version: Version) -> str:
    if version.parent is None:
        return "root"
    lines = [f"`{change.key}` {plain(change.values)}" for change in version.changes]
    return "<br>".join(lines) or "nothing but the words"


def _finalize(value: Any) -> Any:
    return "–" if value is None else value
