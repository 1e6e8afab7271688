"""`ganealogy summary`: what the ideas achieved, and a table of the versions, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ganealogy.errors import GanealogyError
from ganealogy.files.records import RecordError
from ganealogy.report import second_opinions, wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Version
from ganealogy.report.outcome import against_sentences, basis, outcome
from ganealogy.report.problems import problems
from ganealogy.report.verdict_table import (
    against_for,
    bundle,
    css_class,
    estimates_for,
    family,
    verdict_label,
    verdicts_for,
)
from ganealogy.verdicts.estimates import Estimate
from ganealogy.verdicts.significance import EQUIVALENT, Verdict

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

NO_RESULTS = "no results here yet; to train and measure the versions, run: dvc repro"
STYLES = {"better": "green", "worse": "red"}
"""Class of a verdict → style."""
GAP = 2
"""Columns of space between columns."""
INDENT, INDENT_SHARE = 2, 1 / 6
"""Columns per generation, less where the deepest one would be indented by more than this share of the width."""
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
    parts: list[Text | Table] = [
        Text(outcome(findings, verdicts).sentence, style="bold"),
        *map(Text, against_sentences(against_for(findings))),
        Text(f"{basis(findings)}\n", style="dim"),
        _table(_rows(findings, verdicts, width), width),
    ]
    tested = any(verdict.p is not None for verdict in verdicts.values())
    notes = [family(findings) if tested else "", _notes(findings, verdicts)]
    if any(notes):
        parts.append(Text("\n" + "\n".join(filter(None, notes)), style="dim"))
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
    titles, verdicts = _widest(line.title for line in lines), _widest(line.verdict.plain for line in lines)
    taken = _widest(line.version for line in lines) + _widest(line.seconds for line in lines)
    room = width - taken - _widest(distances) - verdicts - 4 * GAP
    narrow = room < min(TITLE_WIDTH, titles)
    if narrow:
        distances, verdicts = [f"{line.mean}\n{line.interval}".rstrip() for line in lines], min(verdicts, VERDICT_WIDTH)
        room = width - taken - _widest(part for text in distances for part in text.split("\n")) - verdicts - 4
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


def _widest(texts: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, texts))


def _rows(findings: Findings, verdicts: dict[str, Verdict], width: int) -> list[Row]:
    """Return a row per version, children after their parent; an ancestor that is not listed has no numbers."""
    from rich.text import Text

    estimates = estimates_for(findings, findings.primary_metric)
    ordered = [pair for root in findings.roots for pair in _descendants(root, 0)]
    step = min(INDENT, width * INDENT_SHARE / max([1, *(depth for depth, _ in ordered)]))
    rows = []
    for depth, version in ordered:
        name = " " * int(depth * step) + ("└ " if depth else "") + version.name
        title = _printable(version.title)
        if version.listed:
            mean, interval = _distance(estimates.get(version.name))
            verdict = _verdict(verdicts.get(version.name))
            rows.append(Row(name, title, mean, interval, verdict, _seconds(version.cost("seconds"))))
        else:
            rows.append(Row(name, title, "", "", Text("not listed"), "", style="dim"))
    return rows


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
        lines = [bundle(version), *(line.short for line in problems(version))]
        found[version.name] = [*filter(None, lines), *marks.get(version.name, {})]
    return " · ".join(f"{name}: {', '.join(lines)}" for name, lines in found.items() if lines)


def _printable(text: str) -> str:
    """Return a title in one line, without the control characters that would steer a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
