"""`ganealogy seeds`: how many more seeds would resolve a difference between a version and its parent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganealogy.errors import GanealogyError, one_of
from ganealogy.report import wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Version
from ganealogy.verdicts import power
from ganealogy.verdicts.significance import ALPHA, SEEDS_NEEDED, percent

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Outlook:
    """What the present seeds of an edge can tell, and what more would: `needs` in seeds a side."""

    version: str
    parent: str
    metric: str
    counts: tuple[int, int]
    planned: list[int]
    edges: int
    wanted: float
    asked: float
    spread: power.Spread
    needs: list[power.Need]
    resolved: float | None
    """The smallest difference that the present seeds resolve at alpha / edges; None where there are fewer than five."""

    @property
    def answer(self) -> power.Need:
        return next(need for need in self.needs if need.difference == self.asked)

    def more(self, seeds: int | None) -> int | None:
        """Seeds to add so that the side that has fewer gets that many."""
        return None if seeds is None else max(0, seeds - min(self.counts))

    @property
    def list_to_type(self) -> list[int] | None:
        """`tree.seeds` with the seeds that the asked difference takes: those there are, then the first unused ones."""
        more = self.more(self.answer.strictest)
        if more is None:
            return None
        unused = (seed for seed in range(len(self.planned) + more + max(self.planned, default=0) + 1))
        fresh = [seed for seed in unused if seed not in self.planned]
        return [*self.planned, *fresh[:more]]


def outlook(root: Path, name: str, difference: float = 0.1, wanted: float = 0.8, metric: str | None = None) -> Outlook:
    """From the metrics under `root`; `metric` is the leading one unless given.

    Raises: GanealogyError for an unknown version, one without a parent to compare with, an unmeasured metric, or too
    few seeds to know a spread.
    """
    findings = collect(root)
    version, parent = _edge(findings, name)
    if metric is not None and findings.metrics and metric not in findings.metrics:
        raise one_of("metric", metric, findings.metrics)
    metric = metric or findings.lead
    values = [list(side.values(metric).values()) for side in (version, parent)]
    for side, found in zip((version, parent), values, strict=True):
        if not found:
            raise GanealogyError(f"{side.name} has no {metric} yet; run: dvc repro")
    spread = power.spread(metric, *values)
    listed = {each.name for each in findings.listed}
    edges = sum(each.parent in listed for each in findings.listed)
    counts = len(values[0]), len(values[1])
    effect = power.smallest_effect(*counts, wanted, ALPHA / edges)
    return Outlook(
        version=version.name,
        parent=parent.name,
        metric=metric,
        counts=counts,
        planned=findings.seeds,
        edges=edges,
        wanted=wanted,
        asked=difference,
        spread=spread,
        needs=power.needs(spread, [*power.DIFFERENCES, difference], wanted, edges, ALPHA),
        resolved=None if effect is None else spread.difference(effect),
    )


def shown(found: Outlook) -> list[RenderableType]:
    """A table of differences and seeds, what the present seeds resolve, and what to type."""
    from rich.table import Table
    from rich.text import Text

    few, many = min(found.counts), found.edges
    table = Table(title=f"{found.version} against {found.parent} on {found.metric}", title_justify="left")
    table.add_column("difference", justify="right")
    table.add_column(f"seeds, 1 of {wording.plural(many, 'edge')}", justify="right")
    table.add_column("more", justify="right")
    table.add_column("seeds, this edge alone", justify="right")
    for need in found.needs:
        style = "bold" if need.difference == found.asked else ""
        cells = [_seeds(need.strictest), _seeds(found.more(need.strictest)), _seeds(need.alone)]
        table.add_row(percent(need.difference), *cells, style=style)
    lines = [
        f"Seeds a side for a power of {percent(found.wanted)} at a level of {percent(ALPHA)}: {found.version} has "
        f"{found.counts[0]} now, {found.parent} {found.counts[1]}.",
        f"Holm's strictest step over {wording.plural(many, 'edge')} asks for p below {ALPHA / many:.2g}; "
        f"a verdict takes {SEEDS_NEEDED} seeds of each in any case.",
        _told(found.spread),
        f"Differences below {percent(found.resolved)} stay unseen by the present seeds."
        if found.resolved is not None
        else f"The present seeds resolve nothing: {few} of the {SEEDS_NEEDED} that a verdict takes.",
    ]
    return [table, Text("\n".join([*lines, "", *_to_type(found)]))]


def _to_type(found: Outlook) -> list[str]:
    seeds, asked = found.list_to_type, percent(found.asked)
    if seeds is None:
        return [f"No number of seeds that anyone trains ({power.MOST:,}) resolves {asked}: look for a larger effect."]
    if len(seeds) == len(found.planned):
        return [f"There are seeds enough for {asked}."]
    listed = ", ".join(map(str, seeds))
    return [
        f"For {asked}, in params.yaml, then `dvc repro` (every version of tree.versions trains the new seeds):",
        f"  tree.seeds: [{listed}]",
        "or, leaving params.yaml to DVC:",
        f"  dvc exp run -S 'tree.seeds=[{','.join(map(str, seeds))}]'",
    ]


def _told(spread: power.Spread) -> str:
    ends = (spread.low, spread.deviation, spread.high)
    low, middle, high = (percent(spread.difference(end / spread.deviation)) for end in ends)
    return (
        f"The spread over seeds is {middle} (95 % interval {low} to {high}, from "
        f"{wording.plural(spread.freedom, 'degree')} of freedom), so these numbers are a plan and no promise."
    )


def _edge(findings: Findings, name: str) -> tuple[Version, Version]:
    by_name = {version.name: version for version in findings.versions}
    if name not in by_name:
        raise one_of("version", name, by_name)
    version = by_name[name]
    if version.parent is None:
        raise GanealogyError(f"{name} is a root: it has no parent to differ from; try one of its children")
    parent = by_name.get(version.parent)
    for each in (version, parent):
        if each is None or not each.listed:
            absent = each.name if each else version.parent
            raise GanealogyError(f"{absent} is not trained: add it to tree.versions in params.yaml, then dvc repro")
    assert parent is not None
    return version, parent


def _seeds(count: int | None) -> str:
    return f"> {power.MOST:,}" if count is None else f"{count:,}"
