"""`ganealogy summary`: what the ideas achieved, and a table of the versions, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ganealogy.errors import GanealogyError, printable
from ganealogy.files.records import RecordError
from ganealogy.report import second_opinions, wording
from ganealogy.report.ablation import AblationTable, Cell, ablation_tables
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Version
from ganealogy.report.outcome import against_sentences, basis, outcome
from ganealogy.report.problems import problems
from ganealogy.report.verdict_table import (
    against_for,
    bundle,
    css_class,
    effect,
    estimates_for,
    family,
    verdict_label,
    verdicts_for,
)
from ganealogy.runtime.tables import GAP, Column, Fitted, indent, text, widest
from ganealogy.verdicts.estimates import Estimate
from ganealogy.verdicts.significance import EQUIVALENT, SecondEdge, Verdict

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

NO_RESULTS = "no results here yet; to train and measure the versions, run: dvc repro"
STYLES = {"better": "green", "worse": "red"}
"""Class of a verdict → style."""
TITLE_WIDTH, VERDICT_WIDTH = 8, 13
"""A terminal that leaves less for titles has intervals below means, verdicts of this width, and gaps of 1."""


class Row(NamedTuple):
    """A line of the table: a version, or the headings."""

    version: str
    title: str
    mean: str
    interval: str
    """`[118.0, 122.3]`; empty below two seeds."""
    verdict: Text
    seconds: str
    style: str = ""


def summary(root: Path, width: int) -> Group:
    """Return the sentence, its metric and protocol, the table in `width` columns, and notes on the versions.

    Raises: GanealogyError when nothing has been trained, or when the plan under `root` cannot be read.
    """
    from rich.console import Group
    from rich.text import Text

    try:
        findings = collect(root)
    except RecordError as error:
        if error.absent:
            raise GanealogyError(NO_RESULTS) from None
        raise
    if all(run.status == "missing" for run in findings.runs):
        raise GanealogyError(NO_RESULTS)
    verdicts = verdicts_for(findings, findings.primary_metric)
    parts: list[Text | Table | Fitted] = [
        Text(printable(outcome(findings, verdicts).sentence), style="bold"),
        *map(text, against_sentences(against_for(findings))),
        Text(printable(f"{basis(findings)}\n"), style="dim"),
        _table(_rows(findings, verdicts, width), width),
    ]
    parts += [_ablations(findings, each) for each in ablation_tables(findings, verdicts)]
    tested = any(verdict.p is not None for verdict in verdicts.values())
    notes = [family(findings) if tested else "", _notes(findings, verdicts)]
    if any(notes):
        parts.append(Text(printable("\n" + "\n".join(filter(None, notes))), style="dim"))
    return Group(*parts)


def _table(rows: list[Row], width: int) -> Table:
    """Return the table in `width` columns: only titles are cut."""
    from rich.table import Table
    from rich.text import Text

    intervals = any(row.interval for row in rows)
    headings = Row("version", "idea", "distance", "[95 %]" if intervals else "", Text("verdict"), "seconds")
    lines = [headings, *rows]
    aligned = max(len(row.mean) for row in rows)
    distances = [f"{line.mean:>{aligned}} {line.interval}".rstrip() for line in lines]
    titles, verdicts = widest(line.title for line in lines), widest(line.verdict.plain for line in lines)
    taken = widest(line.version for line in lines) + widest(line.seconds for line in lines)
    room = width - taken - widest(distances) - verdicts - 4 * GAP
    narrow = room < min(TITLE_WIDTH, titles)
    if narrow:
        distances, verdicts = [f"{line.mean}\n{line.interval}".rstrip() for line in lines], min(verdicts, VERDICT_WIDTH)
        room = width - taken - widest(part for text in distances for part in text.split("\n")) - verdicts - 4
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else GAP, 0, 0), header_style="dim")
    table.add_column(headings.version, no_wrap=True)
    table.add_column(headings.title, no_wrap=True, overflow="ellipsis", width=max(1, min(titles, room)))
    table.add_column(distances[0], no_wrap=True)
    table.add_column(headings.verdict, overflow="fold", width=verdicts)
    table.add_column(headings.seconds, justify="right", no_wrap=True)
    for row, distance in zip(rows, distances[1:], strict=True):
        # Text, because a title may contain rich's markup
        table.add_row(Text(row.version), Text(row.title), Text(distance), row.verdict, row.seconds, style=row.style)
    return table


def _rows(findings: Findings, verdicts: dict[str, Verdict], width: int) -> list[Row]:
    """Return a row per version, children after their parent; an ancestor that is not listed has no numbers."""
    from rich.text import Text

    estimates = estimates_for(findings, findings.primary_metric)
    ordered = [pair for root in findings.roots for pair in _descendants(root, 0)]
    deepest = max((depth for depth, _ in ordered), default=0)
    rows = []
    for depth, version in ordered:
        name = indent(depth, deepest, width) + ("└ " if depth else "") + version.name
        title = " ".join(printable(version.title).split())
        if version.listed:
            mean, interval = _distance(estimates.get(version.name))
            verdict = _verdict(verdicts.get(version.name))
            rows.append(Row(name, title, mean, interval, verdict, _seconds(version.cost("seconds"))))
            for other in version.parents[1:]:
                second = _verdict(verdicts.get(SecondEdge(version.name, other)))
                rows.append(Row("", f"merged with {other}", "", "", second, ""))
        else:
            rows.append(Row(name, title, "", "", Text("not listed"), "", style="dim"))
    return rows


def _ablations(findings: Findings, taken_apart: AblationTable) -> Fitted:
    """Return a row per idea of a version that is taken apart, then a row per several ideas left out."""

    def said(cell: Cell | None) -> str:
        return f"{effect(findings.primary_metric, cell.verdict)} {verdict_label(cell.verdict)}".strip() if cell else "–"

    columns = [
        Column("idea"),
        *(Column(name, wraps=True) for name in ("when added", "alone", f"{taken_apart.version} without it")),
        Column("", wraps=True, spare=1),
    ]
    rows = [[row.idea, said(row.added), said(row.alone), said(row.left_out), row.note] for row in taken_apart.rows]
    rows += [[cell.child, "–", "–", said(cell), ""] for cell in taken_apart.pairs]
    edges = wording.plural(taken_apart.edges, "comparison")
    return Fitted(
        columns,
        rows,
        title=f"\nwhat carries {taken_apart.version}: worse without it means that it carries",
        caption=f"exploratory: alone and left out are a family of {edges} of their own",
    )


def _descendants(version: Version, depth: int) -> list[tuple[int, Version]]:
    """Return (depth, version) of a version and all below it."""
    return [(depth, version), *(pair for child in version.children for pair in _descendants(child, depth + 1))]


def _distance(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "–", ""
    if estimate.low is None or estimate.high is None:
        return wording.figure(estimate.mean), ""
    return wording.figure(estimate.mean), f"[{wording.figure(estimate.low)}, {wording.figure(estimate.high)}]"


def _verdict(verdict: Verdict | None) -> Text:
    """Return the verdict's label; the margin of an equivalence is in the sentence above the table."""
    from rich.text import Text

    if verdict is None:
        return Text("root", style="dim")
    shown = replace(verdict, detail="") if verdict.word == EQUIVALENT else verdict
    return Text(verdict_label(shown), style=STYLES.get(css_class(verdict), ""))


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _notes(findings: Findings, verdicts: Mapping[str, Verdict]) -> str:
    """Return such as `v5: bundle of 2 changes, seed 1 diverged · v7: judges disagree`; empty if there is nothing."""
    marks = second_opinions.marks(findings, verdicts)
    found = {}
    for version in findings.listed:
        lines = [version.started, bundle(version), *(line.short for line in problems(version))]
        found[version.name] = [*filter(None, lines), *marks.get(version.name, {})]
    return " · ".join(f"{name}: {', '.join(lines)}" for name, lines in found.items() if lines)
