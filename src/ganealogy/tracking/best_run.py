"""Which run leads: the one number that a run is ranked by, and the best run of a project."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.tracking import run_record
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord

UNMEASURED = "while training"


@dataclass(frozen=True)
class Score:
    """A distance, so that lower is better."""

    metric: str
    """fd_pixel8, fid, kid_effnet_lite0, …"""
    value: float
    protocol: str
    """Digest of how it was measured, 12 hex digits: scores with another one are not compared. `UNMEASURED` for the
    tracker's word on the best checkpoint, of a run that has not been evaluated."""


def score(run: RunRecord) -> Score | None:
    """The run's leading metric; None when it has no finite one."""
    from ganealogy.verdicts.primary_metric import primary_metric  # lazy: a training imports this module

    ways = run.evaluation.get("protocol", {}) if run.evaluation else {}
    name = primary_metric(str(run.run["protocol"].get("tracker")), ways)
    if run.evaluation:
        value = run.evaluation.get("metrics", {}).get(name)
        how = ways.get(name)
        found = Score(name, float(value), atomic.digest(how)[:12]) if run_record.is_number(value) else None
    else:
        best = run.run.get("best") or {}
        found = Score(name, float(best["score"]), UNMEASURED) if run_record.is_number(best.get("score")) else None
    return found if found and math.isfinite(found.value) else None


def best(root: Path = Path()) -> tuple[RunRecord, Score]:
    """The listed run that leads, of those with a generator: by evaluation, or by the tracker while none is evaluated.

    Raises: GanealogyError when there is no plan, or no run has finished.
    """
    ranked = []
    for directory in Context.of(None, root).run_directories():
        try:
            run = run_record.read(directory)
        except GanealogyError:
            continue  # a damaged run leads nobody; the report names it
        found = score(run)
        if found and run.weights:
            ranked.append((found.protocol == UNMEASURED, found.value, str(directory), run, found))
    if not ranked:
        raise GanealogyError("no run has finished yet: `dvc repro` trains and measures them")
    *_, run, found = min(ranked, key=lambda entry: entry[:3])
    return run, found
