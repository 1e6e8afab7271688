"""Run jobs in workers on this machine, as many at a time as fit, and show their progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Settings, Train
from ganealogy.runs.table import RunTable
from ganealogy.runtime import machine, process, workers
from ganealogy.stages import _jobs as jobs
from ganealogy.stages._jobs import Job
from ganealogy.workspace import LOGS, main_root

LIMIT = "GANEALOGY_JOBS"
"""Environment variable: the most runs at a time on this machine."""
MEMORY = 500_000_000
"""Bytes of a run of which nothing is known."""


def run(
    todo: Sequence[Job], settings: Settings, interruption: process.Interruption, limit: int | None = None
) -> dict[str, str]:
    """Do the jobs. Return failed run → cause in one line. `limit`: of runs at a time."""
    if not todo:
        return {}
    places = slots(settings.train, limit)
    threads = process.threads(settings.train.threads)
    logs = main_root() / LOGS
    with RunTable([job.name for job in todo], len(places)) as table:
        ended = workers.run(jobs.work, todo, places, table, logs, interruption, threads)
    failures = {}
    for job in todo:
        end = ended.get(job.name)
        if end is None or end.how == "done" or (end.how == "stopped" and interruption):
            continue
        failures[job.name] = f"{job.version} seed {job.seed}: {end.reason or 'it was stopped'}"
        if end.how == "bug":
            lines = workers.last_lines(logs / f"{job.name}.log")
            print("\n".join([f"ganealogy: {failures[job.name]}; a bug in Ganealogy:", *lines]), file=sys.stderr)
    return failures


def describe(failures: dict[str, str], command: str) -> str:
    """Return the error of a stage some of whose seeds failed. `command`: what runs them again."""
    causes = " · ".join(f"{cause} (log: {LOGS}/{name}.log)" for name, cause in failures.items())
    return f"{causes}; the other seeds are done: `{command}` runs what failed"


def slots(settings: Train, limit: int | None = None) -> list[dict[str, str]]:
    """Return the environment of each run that fits on this machine at a time; at least one.

    On GPUs: `train.runs_per_gpu` on each. Else: as many as there are cores for `train.threads`, and memory.

    Raises: GanealogyError when GANEALOGY_JOBS is no positive number.
    """
    cards = machine.gpus() if settings.device != "cpu" else []
    if cards:
        places = [{"CUDA_VISIBLE_DEVICES": card} for _ in range(settings.runs_per_gpu) for card in cards]
    else:
        by_cores = machine.cores() // process.threads(settings.threads)
        places = [{} for _ in range(max(1, min(by_cores, machine.free_memory() // MEMORY)))]
    given = os.environ.get(LIMIT)
    if given is not None:
        if not given.isdecimal() or int(given) < 1:
            raise GanealogyError(f"environment: {LIMIT} = {given!r}: set it to a number of runs, at least 1")
        places = places[: int(given)]
    return places[:limit]
