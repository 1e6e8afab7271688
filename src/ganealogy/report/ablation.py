"""What each idea of a version does: when it was added, alone, and left out of the end.

Exploratory: the comparisons with ablations are a family of their own, and no verdict of the tree depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ganealogy.report.findings import Findings, Version
from ganealogy.report.verdict_table import parents_of, verdicts_for
from ganealogy.verdicts.significance import (
    BETTER,
    DIVERGES_LESS,
    DIVERGES_MORE,
    EQUIVALENT,
    NO_DIFFERENCE,
    WORSE,
    Verdict,
)

SIGNS = {BETTER: 1, DIVERGES_LESS: 1, WORSE: -1, DIVERGES_MORE: -1, EQUIVALENT: 0, NO_DIFFERENCE: 0}
"""Word → whether the child is better; any other word is open."""


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

    @property
    def note(self) -> str:
        """What to know where the columns disagree; empty where they agree or are open."""
        added, alone, end = (_sign(cell) for cell in (self.added, self.alone, self.left_out))
        carries = None if end is None else -end
        if carries == -1:
            return "the end is better without it"
        if carries == 1 and alone is not None and alone <= 0:
            return "helps only with the others"
        if carries == 0 and 1 in (added, alone):
            return "the others do its work by now"
        if added is not None and alone is not None and added != alone:
            return "what it does depends on the others"
        return ""


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
            Row(
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


def _sign(cell: Cell | None) -> int | None:
    return None if cell is None else SIGNS.get(cell.verdict.word)
