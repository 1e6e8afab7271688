"""`ganealogy settle`: add seeds, look by look, to the edges whose verdict is open, until each is settled.

It keeps no state: seeds are added in params.yaml, and all looks are computed again from the results, so a run that was
stopped continues from there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganealogy import repro
from ganealogy.errors import GanealogyError, one_of
from ganealogy.params import edit, schema
from ganealogy.params.schema import Settings, Tree
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, number
from ganealogy.report.verdict_table import copying, effect, effect_range, parents_of, trained, verdict_label
from ganealogy.runs import times
from ganealogy.runs.table import duration
from ganealogy.runtime.tables import Column, Fitted
from ganealogy.stages import _side_by_side
from ganealogy.verdicts import settling
from ganealogy.verdicts.looks import LOOKS
from ganealogy.verdicts.settling import EdgeState
from ganealogy.workspace import PARAMS, TREE

UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True)
class Step:
    """Seeds to add to edges, and what their trainings take."""

    edges: list[EdgeState]
    more_seeds: dict[str, list[int]]
    """params.yaml's `tree.more_seeds` with these seeds."""
    runs: int
    seconds: float | None
    """None without a finished run to judge by."""


@dataclass(frozen=True)
class Look:
    """The edges as they are now, and what comes next."""

    settings: Settings
    metric: str
    states: list[EdgeState]
    next: Step
    """The next look of the edges that are open."""
    all: Step
    """All looks of the edges that are open, should none be settled before."""
    waiting: list[tuple[EdgeState, float]]
    """Open edges whose next look the budget does not allow, and its seconds; the cheapest first."""
    lacks_results: bool
    """Whether a planned run has no result yet."""

    def check_budget(self) -> None:
        """Raises: GanealogyError when the budget allows no look at all."""
        if self.waiting and not self.next.edges:
            cheapest, wanted = self.waiting[0]
            raise GanealogyError(
                f"--budget: the next look of {cheapest.child} takes about {duration(wanted)}, and no other takes less"
            )


def settle(names: Collection[str], at_most: int, budget: float | None, params: Path = PARAMS) -> Iterator[Look]:
    """Train look after look until every edge of the named versions is settled, and yield each look.

    `names`: empty for all; `at_most`: seeds of a version; `budget`: seconds, from now.

    Raises: GanealogyError for a version without a parent in the plan, a budget that allows no look, and when runs end
    without a result. SystemExit with the code of a training that was stopped.
    """
    began, wanted, first = time.monotonic(), None, True
    while True:
        left = None if budget is None else budget - (time.monotonic() - began)
        look = load(names, at_most, left) if TREE.is_file() else None
        if look is None or (look.lacks_results and wanted != look.settings.tree.more_seeds):
            wanted = look.settings.tree.more_seeds if look else None
            if code := repro.repro():
                raise SystemExit(code)
            continue
        if first:
            look.check_budget()
        yield look
        first = False
        if not look.next.edges:
            return
        if not look.next.runs:
            stuck = ", ".join(state.child for state in look.next.edges)
            raise GanealogyError(f"{stuck}: the seeds of the next look have ended without a {look.metric}")
        write(look.next, params)


def load(names: Collection[str], at_most: int, budget: float | None) -> Look:
    """Return the edges of the named versions as they are now; without names, all. `budget`: seconds.

    Raises: GanealogyError for a version that is not listed or has no parent among the listed ones.
    """
    settings, findings = schema.load(), collect()
    states = edges(findings, names, at_most)
    ends = [replace(state, next_look=max(look for look in LOOKS if look <= at_most)) for state in _open(states)]
    chosen, waiting = affordable(states, settings, findings, budget)
    return Look(
        settings,
        findings.primary_metric,
        states,
        step(chosen, settings, findings),
        step(ends, settings, findings),
        waiting,
        _lacks_results(findings, settings.tree),
    )


def edges(findings: Findings, names: Collection[str], at_most: int) -> list[EdgeState]:
    """Return the states of the named versions' edges; without names, of all.

    Raises: GanealogyError for a version that is not listed or has no parent among the listed ones.
    """
    metric, parents = findings.primary_metric, parents_of(findings)
    found = settling.states(
        metric,
        trained(findings, metric),
        parents,
        at_most=at_most,
        margin=number(findings.evaluate.get("equivalence_margin")),
        gate=findings.gate,
        barred=copying(findings),
    )
    if not found:
        raise GanealogyError(f"{PARAMS}: tree.versions has no version whose parent is listed, too: nothing to settle")
    legal = {state.child: state for state in found}
    for name in names:
        if name not in legal:
            raise one_of("version with a parent in tree.versions", name, legal)
    return [state for state in found if not names or state.child in names]


def affordable(
    states: Sequence[EdgeState], settings: Settings, findings: Findings, budget: float | None
) -> tuple[list[EdgeState], list[tuple[EdgeState, float]]]:
    """Return the open edges whose next look fits the budget in seconds, and the others with the seconds of theirs.

    Edges with the fewest new runs come first.
    """
    chosen: list[EdgeState] = []
    waiting: list[tuple[EdgeState, float]] = []
    for state in sorted(_open(states), key=lambda state: len(_new_runs(settings.tree, [state]))):
        seconds = step([*chosen, state], settings, findings).seconds
        if budget is not None and seconds is not None and seconds > budget:
            waiting.append((state, seconds))
        else:
            chosen.append(state)
    return chosen, waiting


def step(chosen: Sequence[EdgeState], settings: Settings, findings: Findings) -> Step:
    """Return the step that takes these edges to their next look."""
    new = _new_runs(settings.tree, chosen)
    costs = {version.name: version.cost("seconds") for version in findings.listed}
    dearest = max((cost for cost in costs.values() if cost is not None), default=None)
    each = [cost if (cost := costs.get(version)) is not None else dearest for version, _ in new]
    known = [cost for cost in each if cost is not None]
    places = len(_side_by_side.slots(settings.train))
    seconds = times.makespan(known, places) if len(known) == len(new) else None
    return Step(list(chosen), _more_seeds(settings.tree, chosen), len(new), seconds)


def _open(states: Sequence[EdgeState]) -> list[EdgeState]:
    return [state for state in states if state.next_look]


def _sequence(tree: Tree, count: int) -> list[int]:
    """Return the first `count` seeds of all versions, in ascending order, and as many after them as are needed."""
    known = sorted({seed for version in tree.versions for seed in tree.seeds_of(version)})
    return [*known, *range(known[-1] + 1, known[-1] + 1 + count)][:count]


def _more_seeds(tree: Tree, chosen: Sequence[EdgeState]) -> dict[str, list[int]]:
    wanted = {version: list(tree.more_seeds.get(version, [])) for version in tree.versions}
    for state in chosen:
        for version in (state.child, state.parent):
            new = [seed for seed in _sequence(tree, state.next_look or 0) if seed not in tree.seeds]
            wanted[version] = sorted({*wanted[version], *new})
    return {version: seeds for version, seeds in wanted.items() if seeds}


def _new_runs(tree: Tree, chosen: Sequence[EdgeState]) -> list[tuple[str, int]]:
    more = _more_seeds(tree, chosen)
    return [
        (version, seed)
        for version in tree.versions
        for seed in more.get(version, [])
        if seed not in tree.seeds_of(version)
    ]


def write(step: Step, params: Path = PARAMS) -> None:
    """Write the step's seeds into params.yaml, whose comments stay."""
    edit.set_more_seeds(step.more_seeds, params)


def _lacks_results(findings: Findings, tree: Tree) -> bool:
    """Return whether a run of params.yaml has no result yet, or is not in the plan."""
    metric, listed = findings.primary_metric, {version.name: version for version in findings.listed}
    for name in tree.versions:
        if name not in listed or set(tree.seeds_of(name)) - set(listed[name].seeds):
            return True
        if any(run.status != "diverged" and metric not in run.metrics for run in listed[name].runs):
            return True
    return False


def table(look: Look) -> Fitted:
    """Return a row per edge: its effect, its word, its seeds, and what is next."""
    columns = [
        Column("version"),
        Column("against"),
        Column("effect", wraps=True),
        Column("verdict", wraps=True),
        Column("seeds", right=True),
        Column("next", wraps=True, spare=1),
    ]
    rows = []
    for state in look.states:
        between = effect_range(look.metric, state.verdict)
        rows.append(
            [
                state.child,
                state.parent,
                f"{effect(look.metric, state.verdict)}{f' ({between})' if between else ''}" or "–",
                verdict_label(state.verdict),
                str(state.pairs),
                f"look {1 + list(LOOKS).index(state.next_look)} of {len(LOOKS)}: {state.next_look} seeds"
                if state.next_look
                else f"settled: {state.why}",
            ]
        )
    return Fitted(columns, rows, title="edges")


def sentence(look: Look) -> str:
    """Return what the next look trains and how long that takes, what all looks would, and what the budget forbids."""
    waiting = f"over the budget: {', '.join(state.child for state, _ in look.waiting)}" if look.waiting else ""
    if not look.next.edges:
        return waiting or "all edges are settled"
    text = f"next look: {_cost(look.next)}; all looks, if nothing is settled before: {_cost(look.all)}"
    return "\n".join(filter(None, [text, waiting]))


def _cost(step: Step) -> str:
    long = "" if step.seconds is None else f", about {duration(step.seconds)}"
    return f"{step.runs} run{'s'[: step.runs != 1]} more{long}"


def parse_budget(text: str) -> float:
    """Parse 6h, 30m or 1.5d as seconds. Raises: GanealogyError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if not found or float(found[1]) <= 0:
        raise GanealogyError(f"--budget {text}: write hours, minutes or days, such as 6h, 30m or 1.5d")
    return float(found[1]) * UNITS[found[2]]
