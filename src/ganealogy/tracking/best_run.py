"""The metric that ranks runs, and the best run of a project."""

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
    """A distance: lower is better."""

    metric: str
    """fd_pixel8, fid, kid_effnet_lite0, …"""
    value: float
    protocol: str
    """Digest of the measuring protocol, 12 hex digits: only scores with the same one are compared. `UNMEASURED`: the
    tracker's score of the best checkpoint, for a run that is not evaluated."""


def score(record: RunRecord) -> Score | None:
    """Return the run's leading metric, or the tracker's best score if it is not evaluated; None without a number."""
    if record.evaluation:
        name = record.evaluation["lead"]
        value = record.evaluation["metrics"].get(name)
        digest = atomic.digest(record.evaluation["protocol"].get(name))[:12]
    else:
        name, best = f"fd_{record.run['tracker']}", record.run.get("best")
        value = best["score"] if best else None
        digest = UNMEASURED
    if value is None or not run_record.is_number(value) or not math.isfinite(value):
        return None
    return Score(name, float(value), digest)


def best(root: Path = Path()) -> tuple[RunRecord, Score]:
    """Return the best listed run that has a generator: by evaluation, or by the tracker if no run is evaluated.

    Raises: GanealogyError when there is no plan, or no run has finished.
    """
    ranking = []
    for directory in Context.load(None, root).run_directories():
        try:
            record = run_record.read(directory)
        except GanealogyError:
            continue  # a damaged run is not ranked; the report names it
        result = score(record)
        if result and record.weights:
            ranking.append((result.protocol == UNMEASURED, result.value, str(directory), record, result))
    if not ranking:
        raise GanealogyError("no run has finished yet; `dvc repro` trains and measures them")
    *_, record, result = min(ranking, key=lambda entry: entry[:3])
    return record, result
