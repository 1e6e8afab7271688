"""`ganealogy seeds`: how many more seeds would detect a difference between a version and its parent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganealogy.errors import GanealogyError, one_of
from ganealogy.params import schema
from ganealogy.report import wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Version
from ganealogy.verdicts import power
from ganealogy.verdicts.significance import ALPHA, SEEDS_NEEDED, percent
from ganealogy.workspace import PARAMS

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class SeedPlan:
    """Seeds that an edge has, and seeds that it needs."""

    version: str
    parent: str
    metric: str
    counts: tuple[int, int]
    """Seeds with a value, of version and parent."""
    tree: schema.Tree
    """Section of params.yaml."""
    edges: int
    target_power: float
    difference: float
    """The difference to detect."""
    spread: power.Spread
    requirements: list[power.RequiredSeeds]
    detectable: float | None
    """Smallest difference that the existing seeds detect at alpha / edges; None with fewer than five."""

    @property
    def required(self) -> power.RequiredSeeds:
        return next(row for row in self.requirements if row.difference == self.difference)

    def more(self, seeds: int | None) -> int | None:
        """Return how many seeds to add so that both versions have `seeds`."""
        return None if seeds is None else max(0, seeds - min(self.counts))

    @property
    def new_seeds(self) -> dict[str, list[int]] | None:
        """Version → `tree.more_seeds` of it, with as many unused seeds added as `difference` needs.

        Without versions that have enough; None if no number is enough.
        """
        if self.required.strictest is None:
            return None
        lists = {}
        for name, count in zip((self.version, self.parent), self.counts, strict=True):
            if (more := self.required.strictest - count) > 0:
                used = self.tree.seeds_of(name)
                unused = [seed for seed in range(len(used) + more) if seed not in used]
                lists[name] = [*self.tree.more_seeds.get(name, []), *unused[:more]]
        return lists


def plan_seeds(
    root: Path, name: str, difference: float = 0.1, target_power: float = 0.8, metric: str | None = None
) -> SeedPlan:
    """Plan seeds from the metrics under `root`; `metric` defaults to the primary one.

    Raises: GanealogyError for an unknown version, one without a trained parent, a metric that was not measured, or too
    few seeds to estimate the spread, and a wrong params.yaml.
    """
    findings = collect(root)
    version, parent = _edge(findings, name)
    if metric is not None and findings.metrics and metric not in findings.metrics:
        raise one_of("metric", metric, findings.metrics)
    metric = metric or findings.primary_metric
    values = [list(side.values(metric).values()) for side in (version, parent)]
    for side, numbers in zip((version, parent), values, strict=True):
        if not numbers:
            raise GanealogyError(f"{side.name} has no {metric} yet; run: dvc repro")
    spread = power.spread(metric, *values)
    listed = {each.name for each in findings.listed}
    edges = sum(each.parent in listed for each in findings.listed)
    counts = len(values[0]), len(values[1])
    effect = power.smallest_effect(*counts, target_power, ALPHA / edges)
    return SeedPlan(
        version=version.name,
        parent=parent.name,
        metric=metric,
        counts=counts,
        tree=schema.load(root / PARAMS).tree,
        edges=edges,
        target_power=target_power,
        difference=difference,
        spread=spread,
        requirements=power.required_seeds(spread, [*power.DIFFERENCES, difference], target_power, edges, ALPHA),
        detectable=None if effect is None else spread.difference(effect),
    )


def render(plan: SeedPlan) -> list[RenderableType]:
    """Return a table of differences and seeds, what the existing seeds detect, and what to type."""
    from rich.table import Table
    from rich.text import Text

    edges = wording.plural(plan.edges, "edge")
    table = Table(title=f"{plan.version} against {plan.parent} on {plan.metric}", title_justify="left")
    table.add_column("difference", justify="right")
    table.add_column(f"seeds, 1 of {edges}", justify="right")
    table.add_column("more", justify="right")
    table.add_column("seeds, this edge alone", justify="right")
    for row in plan.requirements:
        cells = [_seeds(row.strictest), _seeds(plan.more(row.strictest)), _seeds(row.alone)]
        table.add_row(percent(row.difference), *cells, style="bold" if row.difference == plan.difference else "")
    lines = [
        f"Seeds per version for a power of {percent(plan.target_power)} at a level of {percent(ALPHA)}. "
        f"{plan.version} has {plan.counts[0]} now, {plan.parent} has {plan.counts[1]}.",
        f"Holm's strictest step over {edges} needs p below {ALPHA / plan.edges:.2g}. "
        f"A verdict needs at least {SEEDS_NEEDED} seeds of each version.",
        _spread_line(plan.spread),
        f"The existing seeds do not detect differences below {percent(plan.detectable)}."
        if plan.detectable is not None
        else f"The existing seeds detect nothing: {min(plan.counts)} of the {SEEDS_NEEDED} that a verdict needs.",
    ]
    return [table, Text("\n".join([*lines, "", *_instructions(plan)]))]


def _instructions(plan: SeedPlan) -> list[str]:
    new, difference = plan.new_seeds, percent(plan.difference)
    if new is None:
        return [f"More than {power.MAX_SEEDS:,} seeds would be needed for {difference}: choose a larger --difference."]
    if not new:
        return [f"The existing seeds are enough for {difference}."]
    lists = [f"{name}: [{', '.join(map(str, seeds))}]" for name, seeds in {**plan.tree.more_seeds, **new}.items()]
    # ++ sets a key that params.yaml may lack.
    options = [f"-S '++tree.more_seeds.{name}=[{','.join(map(str, seeds))}]'" for name, seeds in new.items()]
    return [
        f"For {difference}, edit params.yaml, then run `dvc repro`. Only {' and '.join(new)} train new seeds:",
        f"  tree.more_seeds: {{{', '.join(lists)}}}",
        "Or, without editing params.yaml:",
        " \\\n      ".join(["  dvc exp run", *options]),
    ]


def _spread_line(spread: power.Spread) -> str:
    ends = (spread.low, spread.deviation, spread.high)
    low, middle, high = (percent(spread.difference(end / spread.deviation)) for end in ends)
    return (
        f"The spread over seeds is {middle} (95 % interval {low} to {high}, from "
        f"{wording.plural(spread.freedom, 'degree')} of freedom), so these numbers are estimates."
    )


def _edge(findings: Findings, name: str) -> tuple[Version, Version]:
    by_name = {version.name: version for version in findings.versions}
    if name not in by_name:
        raise one_of("version", name, by_name)
    version = by_name[name]
    if version.parent is None:
        raise GanealogyError(f"{name} is a root, so it has no parent to compare with; choose one of its children")
    parent = by_name.get(version.parent)
    for each in (version, parent):
        if each is None or not each.listed:
            absent = each.name if each else version.parent
            raise GanealogyError(f"{absent} is not trained: add it to tree.versions in params.yaml, then dvc repro")
    assert parent is not None
    return version, parent


def _seeds(count: int | None) -> str:
    return f"> {power.MAX_SEEDS:,}" if count is None else f"{count:,}"
