"""What each idea of a version does: when it was added, alone, and left out of the end.

Exploratory: the comparisons with ablations are a family of their own, and no verdict of the tree depends on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from ganealogy.report.findings import Findings, Version
from ganealogy.report.verdict_table import parents_of, verdicts_for
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import BARRED, BETTER, EQUIVALENT, NOT_YET, Verdict

NO_MEANING = (NOT_YET, BARRED)
"""Words of comparisons whose distances mean little."""


@dataclass(frozen=True)
class Cell:
    """A comparison: `child` against `other`."""

    child: str
    other: str
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    idea: str
    """A version, or a part of the changes of the one taken apart."""
    title: str
    added: Cell | None
    """The version that added it, against its parent."""
    alone: Cell | None
    """The root, or the parent of a bundle, with it alone."""
    left_out: Cell | None
    """The version taken apart without it, against the whole: worse means that the idea carries."""
    note: str
    """What to know where the three disagree; empty where they agree, or where that is open."""


@dataclass(frozen=True)
class AblationTable:
    version: str
    """That is taken apart."""
    rows: list[Row]
    pairs: list[Cell]
    """The version without two or more ideas, against the whole."""
    edges: int
    """Comparisons of the family that corrects `alone`, `left_out` and `pairs`."""


def ablation_tables(findings: Findings, verdicts: dict[str, Verdict]) -> list[AblationTable]:
    """Return a table for each version that listed versions take apart. `verdicts`: of the tree."""
    listed = {version.name: version for version in findings.listed}
    tables = []
    for whole in findings.versions:
        ablations = [each for each in whole.ablations if each.listed]
        if not ablations:
            continue
        edges = exploratory_edges(whole)
        found = verdicts_for(findings, findings.primary_metric, parents=edges)
        cells = {name: Cell(name, str(edges[name]), verdict) for name, verdict in found.items()}
        rows: dict[str, dict[str, Cell | None]] = {}
        for each in ablations:
            kind, idea = _role(each)
            if idea is not None:
                rows.setdefault(idea, {})[kind] = cells.get(each.name)
        made = [
            _row(
                findings.primary_metric,
                idea,
                listed[idea].title if idea in listed else idea,
                _added(idea, verdicts, listed),
                row.get("only") or _already_alone(idea, whole, verdicts, listed),
                row.get("without"),
            )
            for idea, row in rows.items()
        ]
        pairs = [cells[each.name] for each in ablations if _role(each)[1] is None and each.name in cells]
        tables.append(AblationTable(whole.name, made, pairs, len(found)))
    return tables


def _role(ablation: Version) -> tuple[str, str | None]:
    """Return `only` or `without`, and the idea or part; None for several ideas."""
    said = ablation.ablates
    if said.get("part"):
        return str(said.get("kind")), str(said["part"])
    if said.get("only"):
        return "only", str(said["only"])
    ideas = said.get("without") or []
    return "without", str(ideas[0]) if len(ideas) == 1 else None


def edges_with(findings: Findings, version: Version) -> dict[str, str | None]:
    """Return the family of edges that a listed version's verdict belongs to: the tree's, or one of ablations."""
    whole = next((each for each in findings.listed if version in each.ablations), None)
    return exploratory_edges(whole) if whole else parents_of(findings)


def exploratory_edges(whole: Version) -> dict[str, str | None]:
    """Return ablation → the version to compare it with: the whole where something is left out, else its own parent."""
    return {
        each.name: each.parent if _role(each)[0] == "only" else whole.name for each in whole.ablations if each.listed
    }


def _added(idea: str, verdicts: dict[str, Verdict], listed: dict[str, Version]) -> Cell | None:
    if idea not in verdicts or idea not in listed:
        return None
    return Cell(idea, str(listed[idea].parent), verdicts[idea])


def _already_alone(idea: str, whole: Version, verdicts: dict[str, Verdict], listed: dict[str, Version]) -> Cell | None:
    """Return the verdict on a child of the root: there the idea is alone, without an ablation."""
    parent = listed[idea].parent if idea in listed else None
    is_root = parent in listed and listed[str(parent)].parent is None
    return _added(idea, verdicts, listed) if is_root else None


def _row(metric: str, idea: str, title: str, added: Cell | None, alone: Cell | None, left_out: Cell | None) -> Row:
    return Row(idea, title, added, alone, left_out, _note(metric, added, alone, left_out))


def _note(metric: str, added: Cell | None, alone: Cell | None, left_out: Cell | None) -> str:
    """Return where the effects of an idea differ: their intervals, which hold together in a family, are disjoint."""
    end = _Effect.of(metric, left_out).reversed()
    when_added, by_itself = _Effect.of(metric, added), _Effect.of(metric, alone)
    if end.low > 0:
        return "the end is better without it"
    words = {cell.verdict.word for cell in (added, alone) if cell}
    if left_out and left_out.verdict.word == EQUIVALENT and BETTER in words:
        return "the others do its work by now"
    for one, other, where in (
        (end, by_itself, "with the others than alone"),
        (end, when_added, "now than when it was added"),
        (by_itself, when_added, "alone than when it was added"),
    ):
        if one.high < other.low or one.low > other.high:
            return f"{'better' if one.high < other.low else 'worse'} {where}"
    return ""


class _Effect(NamedTuple):
    """Interval of what an idea does, on the scale of comparison; below 0 it helps. Infinite where it is unknown."""

    low: float
    high: float

    @classmethod
    def of(cls, metric: str, cell: Cell | None) -> _Effect:
        if cell is None or cell.verdict.low is None or cell.verdict.high is None or cell.verdict.word in NO_MEANING:
            return cls(-math.inf, math.inf)
        ends = (cell.verdict.low, cell.verdict.high)
        return cls(*(map(math.log, ends) if scale(metric) == "log" else ends))

    def reversed(self) -> _Effect:
        """Return the effect of what was left out."""
        return _Effect(-self.high, -self.low)
