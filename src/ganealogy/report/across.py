"""`reports/across.html`: the same edges on the data of several projects or experiments, and their mean over these."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.report import experiments, wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Version
from ganealogy.report.page import environment, static
from ganealogy.report.verdict_table import (
    css_class,
    effect,
    effect_range,
    parents_of,
    trained,
    verdict_label,
    verdicts_for,
)
from ganealogy.verdicts import looks, significance
from ganealogy.verdicts.across import Across, across
from ganealogy.verdicts.looks import ALPHA
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import BETTER, WORSE, Verdict
from ganealogy.workspace import PARAMS

PAGE = Path("reports/across.html")


@dataclass(frozen=True)
class Side:
    """A column: the results of one project or experiment."""

    name: str
    findings: Findings

    @property
    def data(self) -> str:
        """Such as `anime 32×32`."""
        return wording.dataset_title(self.findings)


@dataclass(frozen=True)
class Cell:
    """An edge on one data set. Without a verdict, `note` says why."""

    verdict: Verdict | None
    mean: float = math.nan
    """Log ratio of child and parent over all seeds."""
    error: float = math.nan
    note: str = ""

    @property
    def counts(self) -> bool:
        return math.isfinite(self.mean) and math.isfinite(self.error)


@dataclass(frozen=True)
class Row:
    child: str
    parent: str
    title: str
    cells: list[Cell]
    """One per side."""
    across: Across | None

    @property
    def sentence(self) -> str:
        """Such as `helps on 3 of 3, on average −17 % [−24, −9]`."""
        words = Counter(cell.verdict.word for cell in self.cells if cell.verdict is not None and cell.counts)
        total = sum(cell.counts for cell in self.cells)
        parts = [
            f"{verb} on {words[word]} of {total}" for word, verb in ((BETTER, "helps"), (WORSE, "harms")) if words[word]
        ]
        text = ", ".join(parts) or (f"no difference shown on {total}" if total else "not measured")
        if self.across is None:
            return text
        low, high = (_percent(value) for value in (self.across.low, self.across.high))
        return f"{text}, on average {wording.change(math.exp(self.across.mean))} [{low}, {high}]"

    @property
    def heterogeneity(self) -> str:
        """How the data sets differ, as a sentence; empty without a mean."""
        if self.across is None:
            return ""
        if self.across.p_equal > ALPHA:
            return f"no difference between the data sets shown (p = {self.across.p_equal:.2g})"
        factor = math.exp(self.across.between)
        return f"the data sets differ: true effects spread by a factor of {factor:.2f} (p = {self.across.p_equal:.2g})"


def write(names: Sequence[str], root: Path = Path()) -> tuple[Path, list[Row]]:
    """Write `reports/across.html` below the root; return it and the rows.

    `names`: folders of projects, or DVC experiments of the project at the root.

    Raises: GanealogyError for fewer than two, one without results, or different leading metrics.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise GanealogyError(f"--projects needs two or more, each named once; got {', '.join(names) or 'none'}")
    folders = [name for name in names if (Path(name) / PARAMS).is_file()]
    others = [name for name in names if name not in folders]
    if absent := [name for name in others if "/" in name or Path(name).is_dir()]:
        raise GanealogyError(f"{absent[0]}: no {PARAMS} there; name folders of projects, or experiments of this one")
    with tempfile.TemporaryDirectory(prefix="ganealogy-") as copies:
        found = {name: Side(Path(name).resolve().name, collect(Path(name))) for name in folders}
        for each in experiments.read(others, root, Path(copies), at_least=1) if others else []:
            found[each.name] = Side(each.name, each.findings)
        sides = [found[name] for name in names]
        table = rows(sides)
        page = render(sides, table)
    atomic.write_text(root / PAGE, page)
    return root / PAGE, table


def rows(sides: Sequence[Side]) -> list[Row]:
    """Return the edges that two or more sides have, in the order of the first.

    Raises: GanealogyError when the sides are led by different metrics, or by one without a ratio.
    """
    same = Counter(str(side.findings.manifest.get("dataset")) for side in sides)
    if twice := [side.name for side in sides if same[str(side.findings.manifest.get("dataset"))] > 1]:
        raise GanealogyError(f"{' and '.join(twice)} have the same pictures, which are one data set: name one of them")
    leads = {side.findings.primary_metric: side.name for side in sides}
    if len(leads) > 1:
        named = " and ".join(f"{name} by {metric}" for metric, name in leads.items())
        raise GanealogyError(f"different distances lead, {named}: set evaluate.lead alike, and measure again")
    [metric] = leads
    if scale(metric) != "log":
        raise GanealogyError(f"{metric} has no ratios to average: let a distance lead (evaluate.lead)")
    columns = [_cells(side.findings) for side in sides]
    shared = Counter(edge for column in columns for edge in column)
    found = []
    for edge in dict.fromkeys(edge for column in columns for edge in column if shared[edge] > 1):
        cells = [column.get(edge, Cell(None, note="not in this project")) for column in columns]
        versions = [_version(side.findings, edge[0]) for side in sides]
        cells = _alike(cells, sides, edge)
        counted = [cell for cell in cells if cell.counts]
        mean = across([cell.mean for cell in counted], [cell.error for cell in counted])
        title = next(version.title for version in versions if version is not None)
        found.append(Row(*edge, title, cells, mean))
    return found


def _cells(findings: Findings) -> dict[tuple[str, str], Cell]:
    """Return (child, parent) → cell, for the edges of one side."""
    metric, parents = findings.primary_metric, parents_of(findings)
    edges = significance.family(metric, trained(findings, metric), parents)
    spread = looks.tree_spread(edge.pairs for edge in edges.values())
    verdicts = verdicts_for(findings, metric)
    found = {}
    for key, edge in edges.items():
        look = looks.look_at(edge.pairs, spread, None)
        note = "" if math.isfinite(look.error) else "too few seeds"
        found[edge.child, edge.parent] = Cell(verdicts[key], look.mean, look.error, note)
    return found


def _alike(cells: list[Cell], sides: Sequence[Side], edge: tuple[str, str]) -> list[Cell]:
    """Leave out the cells whose recipes differ from those of the first: the same names may mean other versions."""
    first: list[object] | None = None
    kept = []
    for cell, side in zip(cells, sides, strict=True):
        versions = [_version(side.findings, name) for name in edge]
        recipes: list[object] = [(version.recipe, version.start) if version else None for version in versions]
        if cell.verdict is None:
            kept.append(cell)
            continue
        first = first or recipes
        kept.append(cell if recipes == first else Cell(None, note="another recipe of this name"))
    return kept


def _version(findings: Findings, name: str) -> Version | None:
    return next((version for version in findings.listed if version.name == name), None)


def _percent(value: float) -> str:
    """Format a log ratio: `−24`, `+9`."""
    return f"{100 * math.expm1(value):+.0f}".replace("-", "−")


def render(sides: Sequence[Side], table: Sequence[Row]) -> str:
    """Return the page as text."""
    template = environment(effect, effect_range, verdict_label, css_class).get_template("across.html")
    return template.render(
        sides=sides,
        rows=table,
        metric=sides[0].findings.primary_metric,
        styles=Markup(static("theme.css") + static("page.css")),
        scripts=[Markup(static("theme.js"))],
    )
