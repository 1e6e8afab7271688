"""`reports/report.md`: the report for a git host, with PNG figures in `reports/report/`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ganealogy.files import atomic
from ganealogy.report import columns, figures, noise, second_opinions, wording
from ganealogy.report.ablation import AblationTable, Cell, ablation_tables
from ganealogy.report.class_tables import class_tables
from ganealogy.report.columns import direction
from ganealogy.report.compute import fairness
from ganealogy.report.conclusions import remark
from ganealogy.report.films import film_name
from ganealogy.report.findings import ANCHORS, Findings, Version
from ganealogy.report.outcome import against_sentences, basis, outcome
from ganealogy.report.pictures import Gallery
from ganealogy.report.problems import problems
from ganealogy.report.verdict_table import (
    VerdictTable,
    at_look,
    bundle,
    decision_rule,
    effect,
    effect_range,
    interval,
    verdict_label,
)
from ganealogy.report.verdict_table import family as family_note
from ganealogy.verdicts.significance import Verdict
from ganealogy.workspace import REPORT_FIGURES, REPORT_MARKDOWN, REPORT_PROGRESS


def write_markdown(findings: Findings, gallery: Gallery) -> Path:
    """Write `reports/report.md` and its figures under `reports/report/`."""
    path = findings.root / REPORT_MARKDOWN
    paths = {
        "samples": figures.montage(findings, gallery),
        "strips": figures.strips(findings, gallery),
        "curves": figures.curves(findings),
    }
    drawn = {name: f"{REPORT_FIGURES.name}/{file.name}" for name, file in paths.items() if file}
    filmed = {run.name for run in findings.runs if run.name in gallery.frames}
    atomic.write_text(path, render(findings, drawn, filmed))
    return path


def render(findings: Findings, drawn: dict[str, str], filmed: Collection[str] = ()) -> str:
    """Return the report as Markdown. `drawn`: figure → path relative to the report; `filmed`: runs with a film."""
    jinja = Environment(
        loader=PackageLoader("ganealogy.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False, finalize=_finalize,  # Markdown is escaped by the filters `plain` and `code`
    )  # fmt: skip
    jinja.filters |= {"figure": wording.figure, "count": wording.count, "plain": plain, "code": code}
    verdicts = VerdictTable.of(findings)
    text = jinja.get_template("report.md").render(
        findings=findings,
        wording=wording,
        drawn=drawn,
        films=films(findings, filmed),
        leaderboard=table(leaderboard(findings, verdicts, columns.headline(findings))),
        others=table(others(findings, verdicts)),
        family=family(findings, verdicts),
        contrasts=table(contrasts(findings, verdicts)),
        ablations=[(each, table(ablation(findings, each))) for each in ablation_tables(findings, verdicts.verdicts)],
        costs=table(costs(findings)),
        equal_compute=table(equal_compute(findings)),
        protocols=columns.protocols(findings),
        verdicts=verdicts,
        outcome=outcome(findings, verdicts.verdicts),
        against_sentences=against_sentences(verdicts.against),
        basis=basis(findings),
        rule=decision_rule(verdicts.verdicts),
        family_note=family_note(findings),
        against=lambda version: _all_against(findings, verdicts, version),
        problems=problems,
        remark=lambda version: remark(findings, version),
        noise=noise.section(findings),
        class_tables=[
            replace(each, rows=[{**row, "class": plain(row["class"])} for row in each.rows])
            for each in class_tables(findings)
        ],
        marks=second_opinions.marks(findings, verdicts.verdicts),
        table=table,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def family(findings: Findings, verdicts: VerdictTable) -> str:
    """Return the tree as nested lists: each version with its mean, its verdict and its problems."""
    lines: list[str] = []

    def walk(version: Version, depth: int) -> None:
        parts = [f"**{version.name}** {plain(version.title)}"]
        if version.listed:
            parts.append(wording.figure(version.mean(findings.primary_metric)))
        if said := _all_against(findings, verdicts, version):
            parts.append(said)
        parts += [f"*{plain(text)}*" for text in (version.started, *(line.short for line in problems(version))) if text]
        lines.append("  " * depth + "- " + " · ".join(parts))
        for child in version.children:
            walk(child, depth + 1)

    for root in findings.roots:
        walk(root, 0)
    return "\n".join(lines)


def films(findings: Findings, filmed: Collection[str]) -> list[str]:
    """Return a line per version with links to its films: `v1: seed [0](progress/v1-seed0.webp), [1](…)`."""
    lines = []
    for version in findings.listed:
        links = [
            f"[{run.seed}]({REPORT_PROGRESS.name}/{film_name(run)}.webp)" for run in version.runs if run.name in filmed
        ]
        if links:
            lines.append(f"{version.name}: seed {', '.join(links)}")
    return lines


def leaderboard(findings: Findings, verdicts: VerdictTable, metrics: list[str]) -> list[dict[str, str]]:
    """Return one row per version, then the anchors: mean over seeds with its interval, then each seed's value."""
    rows = []
    others, by_other = second_opinions.other_means(findings), second_opinions.other_heading(findings)
    for version in findings.listed:
        best, last = version.best_and_last(findings.tracker)
        row = {
            "version": f"**{version.name}** {plain(version.title)}",
            "parent": " and ".join(version.parents) or "–",
            "what changed": _changed(version),
            "against parent": _all_against(findings, verdicts, version, look=True) or "–",
        }
        row |= {_heading(metric): _cell(findings, verdicts, version, metric) for metric in metrics}
        if others:
            row[by_other] = wording.figure(others.get(version.name))
        rows.append(row | {"best → last": f"{wording.figure(best)} → {wording.figure(last)}"})
    for anchor in ANCHORS:
        if any(anchor in known for known in findings.anchors.values()):
            described = plain(findings.anchors_described[anchor])
            row = {"version": f"*{anchor.replace('_', ' ')}*", "parent": "", "what changed": described}
            values = {metric: findings.anchors.get(metric, {}).get(anchor) for metric in metrics}
            row |= {"against parent": ""} | {
                _heading(metric): wording.figure(value) for metric, value in values.items()
            }
            rows.append(row | ({by_other: ""} if others else {}) | {"best → last": ""})
    return rows


def contrasts(findings: Findings, verdicts: VerdictTable) -> list[dict[str, str]]:
    """Return one row per version that is compared with a version of evaluate.against."""
    return [
        {
            "version": name,
            "against": plain(other),
            "verdict": _against(findings, verdict),
            "interval": effect_range(findings.primary_metric, verdict) or "–",
            "why": plain(verdict.why),
        }
        for other, row in verdicts.against.items()
        for name, verdict in row.items()
    ]


def ablation(findings: Findings, taken_apart: AblationTable) -> list[dict[str, str]]:
    """Return one row per idea of a version that is taken apart, then one per several ideas left out."""

    def said(cell: Cell | None) -> str:
        if cell is None:
            return "–"
        ends = effect_range(findings.primary_metric, cell.verdict)
        return _against(findings, cell.verdict) + (f" ({ends})" if ends else "")

    without = f"{taken_apart.version} without it"
    return [
        {
            "idea": f"**{plain(row.idea)}**" + (f" {plain(row.title)}" if row.title != row.idea else ""),
            "when added": said(row.added),
            "alone": said(row.alone),
            without: said(row.left_out),
            "": row.note,
        }
        for row in taken_apart.rows
    ] + [
        {"idea": f"**{cell.child}**", "when added": "–", "alone": "–", without: said(cell), "": ""}
        for cell in taken_apart.pairs
    ]


def others(findings: Findings, verdicts: VerdictTable) -> list[dict[str, str]]:
    """Return one row per metric that is no headline metric, one column per version."""
    shown = columns.headline(findings)
    return [
        {"metric": _heading(metric)}
        | {version.name: _cell(findings, verdicts, version, metric, seeds=False) for version in findings.listed}
        for metric in columns.all_columns(findings)
        if metric not in shown
    ]


def costs(findings: Findings) -> list[dict[str, str]]:
    """Return one row per version: parameters, operations, time, speed, memory; means over seeds."""
    return [
        {
            "version": version.name,
            "G": wording.count(version.parameters.get("generator")),
            "D": wording.count(version.parameters.get("discriminator")),
            "per image": wording.operations(version.flops),
            "per sample": wording.operations(version.sample_flops),
            "training, per seed": wording.operations(version.training_flops),
            "time, per seed": wording.duration(version.cost("seconds")),
            "images/s": wording.count(version.cost("images_per_second")),
            "memory": wording.memory(version.cost("peak_memory_bytes")),
            "status": plain("; ".join(line.long for line in problems(version)) or "finished"),
        }
        for version in findings.listed
    ]


def table(rows: list[dict[str, str]]) -> str:
    """Format rows, whose cells are Markdown, as a Markdown table."""
    if not rows:
        return ""
    import pandas as pd

    frame = pd.DataFrame(rows)
    numeric = ("`", "G", "D", "training", "images", "memory", "best", "by ")
    align = ["right" if str(column).startswith(numeric) else "left" for column in frame.columns]
    text: str = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
    return re.sub(r" {2,}", " ", re.sub(r"-{4,}", "---", text))


def equal_compute(findings: Findings) -> list[dict[str, str]]:
    """Return one row per version that is compared: its effect on the tracker's distance by both budgets."""
    rows = []
    for version in findings.listed:
        if (fair := fairness(findings, version)) is not None:
            rows.append(
                {
                    "version": version.name,
                    "against": fair.other,
                    "at equal updates": wording.effect_over_seeds(fair.updates),
                    "at equal compute": wording.effect_over_seeds(fair.compute),
                    "compute": wording.operations(fair.flops),
                }
            )
    return rows


def plain(text: str) -> str:
    """Escape untrusted text: it must not become HTML or Markdown, or end a table's cell."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def code(content: object) -> str:
    """Return untrusted text as code: it must not end the code or a table's cell."""
    text = " ".join(str(content).split()).replace("`", "'").replace("|", r"\|")
    return f"`{text}`"


def _heading(metric: str) -> str:
    return f"{code(metric)} {direction(metric)}".strip()


def _cell(findings: Findings, verdicts: VerdictTable, version: Version, metric: str, seeds: bool = True) -> str:
    values = version.values(metric)
    if not values:
        return "–"
    mean = wording.figure(version.mean(metric))
    mark = "" if findings.passes_anchor(version, metric) is not False else " †"
    ends = interval(verdicts.estimate(metric, version))
    text = f"{mean}{mark}" + (f" ({ends})" if ends else "")
    return f"{text}<br>{' · '.join(map(wording.figure, values.values()))}" if seeds and len(values) > 1 else text


def _against(findings: Findings, verdict: Verdict | None, bundle: str = "") -> str:
    """Return effect, verdict and bundle: `−22 % ✓ better, bundle of 2 changes`; empty for a root."""
    if verdict is None:
        return ""
    said = f"{effect(findings.primary_metric, verdict)} {plain(verdict_label(verdict))}".strip()
    return ", ".join(filter(None, [said, bundle]))


def _all_against(findings: Findings, verdicts: VerdictTable, version: Version, look: bool = False) -> str:
    """Return effect and verdict against each parent; empty for a root. `look`: with when it was looked at last."""
    verdict = verdicts.verdict(version)
    said = [_against(findings, verdict, bundle(version)), at_look(verdict) if look else ""]
    said += [f"against {name} {_against(findings, second)}" for name, second in verdicts.second(version).items()]
    return ", ".join(filter(None, said))


def _changed(version: Version) -> str:
    if version.parent is None:
        return "<br>".join(filter(None, ["root", plain(version.started)]))
    lines = [f"{code(change.key)} {plain(change.values)}" for change in version.changes]
    return "<br>".join(filter(None, [*lines, plain(version.started)])) or "only the text"


def _finalize(value: Any) -> Any:
    return "–" if value is None else value
