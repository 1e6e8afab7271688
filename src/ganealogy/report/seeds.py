"""`ganealogy seeds`: how many seeds the verdict on a version needs, and what to type for the next look."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganealogy.errors import GanealogyError, one_of
from ganealogy.params import schema
from ganealogy.report import wording
from ganealogy.report.ablation import edges_with
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Version
from ganealogy.report.verdict_table import trained
from ganealogy.runtime.tables import Column, Fitted, text
from ganealogy.verdicts import power, significance
from ganealogy.verdicts.looks import ALPHA, LOOKS
from ganealogy.verdicts.significance import percent
from ganealogy.workspace import PARAMS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

MOST = max(LOOKS)


@dataclass(frozen=True)
class SeedPlan:
    """Seeds that an edge has, and seeds that it needs."""

    version: str
    parent: str
    metric: str
    seeds: int
    """That both have, up to the first one without a result."""
    tree: schema.Tree
    """Section of params.yaml."""
    target_power: float
    difference: float
    """The difference to detect."""
    spread: power.Spread
    requirements: list[power.RequiredSeeds]
    detectable: float | None
    """Smallest difference that the last look detects; None before the first look."""

    @property
    def required(self) -> power.RequiredSeeds:
        return next(row for row in self.requirements if row.difference == self.difference)

    @property
    def next_look(self) -> int | None:
        """Seeds of the next look; None after the last one."""
        return next((look for look in LOOKS if look > self.seeds), None)

    @property
    def new_seeds(self) -> dict[str, list[int]]:
        """Version → `tree.more_seeds` of it, so that both sides have the seeds of the next look.

        Without versions that have enough. New seeds follow the last one of both: an earlier one would change old looks.
        """
        planned = {name: self.tree.seeds_of(name) for name in (self.version, self.parent)}
        both = set(planned[self.version]) & set(planned[self.parent])
        new = range(max(both) + 1, max(both) + 1 + max(0, (self.next_look or 0) - len(both)))
        lacking = {name: [seed for seed in new if seed not in seeds] for name, seeds in planned.items()}
        return {name: [*self.tree.more_seeds.get(name, []), *seeds] for name, seeds in lacking.items() if seeds}


def plan_seeds(root: Path, name: str, difference: float = 0.1, target_power: float = 0.8) -> SeedPlan:
    """Plan seeds from the primary metric of the runs under `root`.

    Raises: GanealogyError for an unknown version, one without a trained parent, a metric that was not measured, or too
    few seeds to estimate the spread, and a wrong params.yaml.
    """
    findings = collect(root)
    version, parent = _edge(findings, name)
    metric = findings.primary_metric
    for side in (version, parent):
        if not side.values(metric):
            raise GanealogyError(f"{side.name} has no {metric} yet; run: dvc repro")
    family = significance.family(metric, trained(findings, metric), edges_with(findings, version))
    edge = family[name]
    spread = power.spread(edge, family)
    effect = power.smallest_effect(spread, len(edge.pairs), target_power)
    return SeedPlan(
        version=version.name,
        parent=parent.name,
        metric=metric,
        seeds=len(edge.pairs),
        tree=schema.load(root / PARAMS).tree,
        target_power=target_power,
        difference=difference,
        spread=spread,
        requirements=power.required_seeds(spread, [*power.DIFFERENCES, difference], target_power),
        detectable=None if effect is None else spread.difference(effect),
    )


def as_json(plan: SeedPlan) -> dict[str, Any]:
    """Return what `render` shows, for scripts."""
    return {
        "version": plan.version,
        "parent": plan.parent,
        "metric": plan.metric,
        "seeds": plan.seeds,
        "power": plan.target_power,
        "detectable": plan.detectable,
        "required": [asdict(row) for row in plan.requirements],
        "next_look": plan.next_look,
        "more_seeds": plan.new_seeds,
    }


def render(plan: SeedPlan) -> list[RenderableType]:
    """Return a table of differences and seeds, what the existing seeds detect, and what to type."""
    from rich.console import Group

    edges = wording.plural(plan.spread.family, "edge")
    table = Fitted(
        [Column("difference", right=True), Column(f"seeds of both, 1 of {edges}", wraps=True)],
        [[percent(row.difference), _seeds(row)] for row in plan.requirements],
        title=f"{plan.version} against {plan.parent} on {plan.metric}",
        bold={at for at, row in enumerate(plan.requirements) if row.difference == plan.difference},
    )
    *first, last = LOOKS
    lines = [
        f"Seeds of the first look that detects the difference with a probability of {percent(plan.target_power)}, and "
        "the range that the spread's uncertainty leaves.",
        f"Looks: the first {', '.join(map(str, first))} and {last} seeds, at a level of {percent(ALPHA)} for all looks "
        f"and {edges}. Both versions have {plan.seeds}.",
        _spread_line(plan.spread),
        f"The existing seeds do not detect differences below {percent(plan.detectable)}."
        if plan.detectable is not None
        else f"The existing seeds detect nothing: {plan.seeds} of the {min(LOOKS)} that a verdict needs.",
    ]
    return [table, Group(*map(_line, [*lines, "", *_instructions(plan)]))]


def _line(content: str) -> Text:
    """Return a line for the terminal. An indented one is to be copied, so it stays whole, however long."""
    line = text(content)
    if content.startswith(" "):
        line.no_wrap, line.overflow = True, "ignore"
    return line


def _instructions(plan: SeedPlan) -> list[str]:
    needed, difference = plan.required.seeds, percent(plan.difference)
    if needed is not None and needed <= plan.seeds:
        return [f"The existing seeds are enough for {difference}."]
    lines = [] if needed else [f"{MOST} seeds do not detect {difference} so often: choose a larger --difference."]
    if plan.next_look is None:
        return [*lines, f"{MOST} seeds are the last look: more of them change no verdict."]
    new = plan.new_seeds
    if not new:
        return [*lines, f"The next look is at {plan.next_look} seeds, which params.yaml already has. Run: dvc repro"]
    lists = [f"{name}: [{', '.join(map(str, seeds))}]" for name, seeds in {**plan.tree.more_seeds, **new}.items()]
    # ++ sets a key that params.yaml may lack.
    options = [f"-S '++tree.more_seeds.{name}=[{','.join(map(str, seeds))}]'" for name, seeds in new.items()]
    return [
        *lines,
        f"The next look is at {plan.next_look} seeds. For it, edit params.yaml, then run `dvc repro`. "
        f"Only {' and '.join(new)} {'train' if len(new) > 1 else 'trains'} new seeds:",
        f"  tree.more_seeds: {{{', '.join(lists)}}}",
        "Or, without editing params.yaml:",
        " \\\n      ".join(["  dvc exp run", *options]),
    ]


def _spread_line(spread: power.Spread) -> str:
    ends = (spread.low, spread.deviation, spread.high)
    low, middle, high = (percent(spread.difference(end)) for end in ends)
    return (
        f"The difference varies by {middle} over seeds (80 % interval {low} to {high}, from "
        f"{wording.plural(spread.freedom, 'degree')} of freedom), so these numbers are estimates."
    )


def _edge(findings: Findings, name: str) -> tuple[Version, Version]:
    by_name = {version.name: version for version in findings.versions}
    if name not in by_name:
        raise one_of("version", name, by_name)
    version = by_name[name]
    if version.parent is None:
        raise GanealogyError(f"{name} is a root, so it has no parent to compare with; choose one of its children")
    other = edges_with(findings, version).get(name) or version.parent
    parent = by_name.get(other)
    for each in (version, parent):
        if each is None or not each.listed:
            absent = each.name if each else other
            raise GanealogyError(f"{absent} is not trained: add it to tree.versions in params.yaml, then dvc repro")
    assert parent is not None
    return version, parent


def _seeds(row: power.RequiredSeeds) -> str:
    """Format such as `12 seeds (5 to 20)`."""
    middle, low, high = (
        f"more than {MOST}" if count is None else str(count) for count in (row.seeds, row.low, row.high)
    )
    return f"{middle} seeds" if low == high else f"{middle} seeds ({low} to {high})"
