"""The metric that ranks runs, and the best run of a project."""

from __future__ import annotations

import math
from collections import Counter
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

    Of several ways to measure, the one that most runs have counts: scores of two are not compared.

    Raises: GanealogyError when there is no plan, or no run has finished.
    """
    ranking = []
    context = Context.load(None, root)
    for directory in context.run_directories():
        try:
            record = run_record.read(directory)
        except GanealogyError:
            continue  # a damaged run is not ranked; the report names it
        result = score(record)
        if result and record.weights and context.has_data_of(record):
            ranking.append((result, record))
    if not ranking:
        raise GanealogyError("no run has finished yet; `dvc repro` trains and measures them")
    ways = Counter((result.protocol != UNMEASURED, result.metric, result.protocol) for result, _ in ranking)
    _, metric, protocol = max(ways, key=lambda way: (way[0], ways[way], way))
    same = [(result, record) for result, record in ranking if (result.metric, result.protocol) == (metric, protocol)]
    result, record = min(same, key=lambda entry: (entry[0].value, str(entry[1].directory)))
    return record, result
