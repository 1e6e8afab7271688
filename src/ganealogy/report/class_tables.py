"""How well the samples cover each class of the data set: tables without verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ganealogy.report import wording
from ganealogy.report.findings import Findings, Json, Version, number

ROWS = 20
"""Classes per table; of more, those with the lowest coverage are shown."""
KINDS = {
    "coverage": (
        "Coverage by class",
        "The fraction of a class's reals with a sample in their ball, whose radius is the distance to the "
        "k-th nearest other real, k = {k}. A class that G leaves out is near 0.",
    ),
    "recall": (
        "Recall by class",
        "The fraction of a class's reals in the ball of a sample: low where the samples of a class differ less than "
        "its reals.",
    ),
    "samples": (
        "Share of the samples",
        "The fraction of the samples whose nearest real is of the class, beside the class's share of the reals.",
    ),
    "own": (
        "Samples of a class that look like it",
        "Of conditional versions: the fraction of the samples drawn for a class whose nearest real is of it.",
    ),
}


@dataclass(frozen=True)
class ClassTable:
    title: str
    about: str
    rows: list[dict[str, str]]


def class_tables(findings: Findings) -> list[ClassTable]:
    """Return the tables, means over seeds; empty where the data set has no classes or none were measured."""
    extractor = _extractor(findings)
    if extractor is None:
        return []
    measured = {version.name: _of_version(version, extractor) for version in findings.listed}
    records = [record for found in measured.values() for record in found]
    reals = records[0].get("reals")
    sizes = [int(number(size) or 0) for size in reals] if isinstance(reals, list) else []
    if not sizes:
        return []
    means = {
        kind: {name: _means([found.get(kind) for found in measured[name]], len(sizes)) for name in measured}
        for kind in KINDS
    }
    shown = list(range(len(sizes)))
    if len(shown) > ROWS:
        shown = sorted(shown, key=lambda index: _lowest(means["coverage"], index))[:ROWS]
    names, total = findings.manifest.get("classes"), sum(sizes) or 1
    note = f" In the features of {wording.EXTRACTORS.get(extractor, extractor)}; mean over seeds."
    if len(sizes) > ROWS:
        note += f" The {ROWS} classes of the lowest coverage, of {len(sizes)}."
    tables = []
    for kind, (title, about) in KINDS.items():
        rows = []
        for index in shown:
            share = f"{100 * sizes[index] / total:.1f} %" if kind == "samples" else f"{sizes[index]:,}"
            cells = {name: _cell(values[index], kind) for name, values in means[kind].items() if values is not None}
            rows.append({"class": _name(names, index), "reals": share, **cells})
        if len(rows[0]) > 2:
            tables.append(ClassTable(title, about.format(k=records[0].get("k")) + note, rows))
    return tables


def _extractor(findings: Findings) -> str | None:
    """Return the first network's extractor that measured classes, else the first one that did."""
    found = [
        (name, record.get("network") is True)
        for run in findings.runs
        for name, record in run.classes.items()
        if isinstance(record, dict)
    ]
    return min(found, key=lambda pair: not pair[1], default=(None, False))[0]


def _of_version(version: Version, extractor: str) -> list[Json]:
    return [run.classes[extractor] for run in version.runs if isinstance(run.classes.get(extractor), dict)]


def _means(columns: list[Any], classes: int) -> list[float | None] | None:
    """Return the mean of each class over seeds; None without a seed that has the column."""
    whole = [column for column in columns if isinstance(column, list) and len(column) == classes]
    if not whole:
        return None
    values = ([number(column[index]) for column in whole] for index in range(classes))
    return [fmean(known) if (known := [value for value in row if value is not None]) else None for row in values]


def _lowest(means: dict[str, list[float | None] | None], index: int) -> float:
    """Return the mean coverage of a class over the versions; 2, after all others, without one."""
    values = [row[index] for row in means.values() if row is not None]
    known = [value for value in values if value is not None]
    return fmean(known) if known else 2.0


def _name(names: Any, index: int) -> str:
    return str(names[index]) if isinstance(names, list) and index < len(names) else str(index)


def _cell(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if kind == "samples" else f"{value:.2f}"
