"""`ganealogy settle`: add seeds, look by look, to the edges whose verdict is open, until each is settled.

It keeps no state: seeds are added in params.yaml, and all looks are computed again from the results, so a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from ganealogy.workspace import PARAMS

UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True)
class Step:
    """What the next look trains."""

    open: list[EdgeState]
    """Edges whose seeds are added."""
    waiting: list[EdgeState]
    """Open edges that the budget does not allow."""
    more_seeds: dict[str, list[int]]
    """params.yaml's `tree.more_seeds` with these seeds."""
    runs: int
    seconds: float | None
    """None without a finished run to judge by."""


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
    legal = {state.child: state for state in found}
    for name in names:
        if name not in legal:
            raise one_of("version with a parent in tree.versions", name, legal)
    if not legal:
        raise GanealogyError(f"{PARAMS}: tree.versions has no version whose parent is listed, too: nothing to settle")
    return [state for state in found if not names or state.child in names]


def plan(states: Sequence[EdgeState], settings: Settings, findings: Findings, budget: float | None) -> Step:
    """Return the next step. `budget`: seconds; edges that need the fewest new runs come first."""
    tree = settings.tree
    cost = {version.name: _seconds(findings, version.name) for version in findings.listed}
    places = len(_side_by_side.slots(settings.train))
    chosen: list[EdgeState] = []
    waiting: list[EdgeState] = []
    todo = [state for state in states if state.next_look]
    for state in sorted(todo, key=lambda state: len(_new_runs(tree, [state]))):
        new = _new_runs(tree, [*chosen, state])
        wall = _wall([cost[version] for version, _ in new], places)
        if budget is not None and wall is not None and wall > budget:
            waiting.append(state)
        else:
            chosen.append(state)
    new = _new_runs(tree, chosen)
    seconds = _wall([cost[version] for version, _ in new], places)
    return Step(chosen, waiting, _more_seeds(tree, chosen), len(new), seconds)


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


def _seconds(findings: Findings, name: str) -> float | None:
    """Return what a run of the version took, or of any version where it has none."""
    costs = {version.name: version.cost("seconds") for version in findings.listed}
    known = [cost for cost in costs.values() if cost is not None]
    own = costs.get(name)
    return own if own is not None else max(known, default=None)


def _wall(seconds: Sequence[float | None], places: int) -> float | None:
    known = [each for each in seconds if each is not None]
    return times.makespan(known, places) if len(known) == len(seconds) else None


def write(step: Step, params: Path = PARAMS) -> None:
    """Write the step's seeds into params.yaml, whose comments stay."""

    def change(content: Any) -> None:
        content["tree"]["more_seeds"] = step.more_seeds

    edit.rewrite(params, change)


def train() -> int:
    """Train what the plan lacks. Return the exit code of `ganealogy repro`."""
    return repro.repro()


def load(names: Collection[str], at_most: int) -> tuple[Settings, Findings, list[EdgeState]]:
    """Return settings, results and states as they are now."""
    settings, findings = schema.load(), collect()
    return settings, findings, edges(findings, names, at_most)


def lacks_results(findings: Findings) -> bool:
    """Whether a planned run of a listed version has no result yet."""
    metric = findings.primary_metric
    return any(
        run.status != "diverged" and metric not in run.metrics for version in findings.listed for run in version.runs
    )


def table(findings: Findings, states: Sequence[EdgeState]) -> Fitted:
    """Return a row per edge: its effect, its word, its seeds, and what is next."""
    columns = [
        Column("version"),
        Column("against"),
        Column("effect", wraps=True),
        Column("verdict", wraps=True),
        Column("seeds", right=True),
        Column("next", wraps=True, spare=1),
    ]
    metric, rows = findings.primary_metric, []
    for state in states:
        between = effect_range(metric, state.verdict)
        rows.append(
            [
                state.child,
                state.parent,
                f"{effect(metric, state.verdict)}{f' ({between})' if between else ''}" or "–",
                verdict_label(state.verdict),
                str(state.pairs),
                f"look {1 + list(LOOKS).index(state.next_look)} of {len(LOOKS)}: {state.next_look} seeds"
                if state.next_look
                else f"settled: {state.why}",
            ]
        )
    return Fitted(columns, rows, title="edges")


def sentence(step: Step) -> str:
    """Return what the step trains, and how long that takes."""
    long = "" if step.seconds is None else f", about {duration(step.seconds)}"
    return f"{step.runs} run{'s'[: step.runs > 1]} more{long}"


def parse_budget(text: str) -> float:
    """Parse 6h, 30m or 1.5d as seconds. Raises: GanealogyError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if not found or float(found[1]) <= 0:
        raise GanealogyError(f"--budget {text}: write hours, minutes or days, such as 6h, 30m or 1.5d")
    return float(found[1]) * UNITS[found[2]]
