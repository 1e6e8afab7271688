"""Run jobs in workers on this machine, as many at a time as fit, and show their progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ganealogy.errors import GanealogyError, printable
from ganealogy.params.schema import Settings, Train
from ganealogy.runs import times
from ganealogy.runs.table import RunTable, duration
from ganealogy.runtime import machine, process, workers
from ganealogy.stages import _estimate
from ganealogy.stages import _jobs as jobs
from ganealogy.stages._jobs import Job
from ganealogy.workspace import LOGS, MANIFEST, main_root, plan_path

LIMIT = "GANEALOGY_JOBS"
"""Environment variable: the most runs at a time on this machine; 0 runs them in this process, for a debugger."""
CARD = "CUDA_VISIBLE_DEVICES"
MEMORY = 500_000_000
"""Bytes of a run of which nothing is known."""


def run(
    todo: Sequence[Job], settings: Settings, interruption: process.Interruption, limit: int | None = None
) -> dict[str, str]:
    """Do the jobs. Return failed run → cause in one line. `limit`: of runs at a time.

    It first measures recipes that are new to this machine, and says how long the jobs will take.
    """
    if not todo:
        return {}
    if os.environ.get(LIMIT) == "0":
        for job in todo:
            jobs.work(job)
        return {}
    threads = process.threads(settings.train.threads)
    logs = main_root() / LOGS
    others = other_trainings(todo, settings)
    pace = measure([*todo, *others], settings, interruption, limit)
    places = slots(settings.train, limit, _estimate.memory(todo, settings))
    remaining = [jobs.remaining(job) for job in todo]
    done = _estimate.continued([*remaining, *others], settings)
    expected = _estimate.expected(remaining, settings, pace, done)
    if len(expected) == len(todo):
        process.warn(sentence(list(expected.values()), places))
    whole = expected | _estimate.expected(others, settings, pace, done)
    if others and len(whole) == len(todo) + len(others):
        process.warn(f"with the trainings of the other versions: {sentence(list(whole.values()), places)}")
    for job in todo:
        if job.stages[0] == "train":  # later stages continue its log
            (logs / f"{job.name}.log").unlink(missing_ok=True)
    walls = {name: each.wall for name, each in expected.items()}
    later = seconds_of_others(todo, settings, len(places), pace)
    with RunTable([job.name for job in todo], len(places), walls, later) as table:
        ended = workers.run(jobs.work, todo, places, table, logs, interruption, threads)
    failures = {}
    for job in todo:
        end = ended.get(job.name)
        if end is None or end.how == "done" or (end.how == "stopped" and interruption):
            continue
        failures[job.name] = f"{job.label}: {end.reason or 'it was stopped'}"
        if end.how == "bug":
            lines = workers.last_lines(logs / f"{job.name}.log")
            process.warn(f"{failures[job.name]}; a bug in Ganealogy:")
            print(printable("\n".join(lines)), file=sys.stderr)
    return failures


def measure(todo: Sequence[Job], settings: Settings, interruption: process.Interruption, limit: int | None) -> float:
    """Measure the recipes that are new to this machine, as many at a time as will train. Failures show in training.

    Returns the wall time per processor time at present; 1 if nothing had to be measured.
    """
    new = _estimate.missing(todo, settings)
    if new:
        places = slots(settings.train, limit)
        threads = process.threads(settings.train.threads)
        process.warn(f"measuring {len(new)} recipe{'s'[: len(new) > 1]} to estimate the time")
        workers.run(_estimate.measure, new, places, workers.Watcher(), main_root() / LOGS, interruption, threads)
    return _estimate.pace(new, settings)


def other_trainings(todo: Sequence[Job], settings: Settings) -> list[Job]:
    """Return the trainings that the plan lacks beside these, if these are trainings alone, as in `dvc repro`."""
    if any(job.stages != ("train",) for job in todo):
        return []
    names = {job.name for job in todo}
    lacking = [job for job in planned(settings) if job.name not in names and plan_path(job.version).is_file()]
    return [replace(job, stages=("train",)) for job in map(jobs.remaining, lacking) if "train" in job.stages]


def planned(settings: Settings) -> list[Job]:
    """Return a job per version and seed: the first seed of every version before the second of any."""
    seeds = {version: settings.tree.seeds_of(version) for version in settings.tree.versions}
    most = max(map(len, seeds.values()))
    return [Job(version, seeds[version][at]) for at in range(most) for version in seeds if at < len(seeds[version])]


def seconds_of_others(todo: Sequence[Job], settings: Settings, places: int, pace: float) -> float | None:
    """Return the wall time of what the plan lacks beside these jobs; None if that is not known, or nothing is left."""
    own = {job.name: job.stages for job in todo}
    others = []
    for job in map(jobs.remaining, planned(settings)):
        stages = tuple(stage for stage in job.stages if stage not in own.get(job.name, ()))
        if stages:
            others.append(replace(job, stages=stages))
    expected = _estimate.expected(others, settings, pace)
    if not others or len(expected) < len(others):
        return None
    return times.makespan([each.wall for each in expected.values()], places)


def times_of_plan(settings: Settings) -> tuple[dict[str, str], str]:
    """Return version → time of a run, and a line about all runs; empty where a recipe was not measured here."""
    todo = planned(settings)
    expected = _estimate.expected(todo, settings)
    times_of = {job.version: duration(expected[job.name].wall) for job in todo if job.name in expected}
    if len(expected) < len(todo):
        return times_of, ""
    lacking = [job for job in todo if not MANIFEST.is_file() or jobs.remaining(job).stages]
    places = slots(settings.train, None, _estimate.memory(todo, settings))
    if not lacking:
        return times_of, f"all {len(todo)} runs are done"
    done = f"; {len(todo) - len(lacking)} are done" if len(lacking) < len(todo) else ""
    return times_of, sentence([expected[job.name] for job in lacking], places) + done


def sentence(expected: Sequence[times.Seconds], places: Sequence[Mapping[str, str]]) -> str:
    return times.sentence(expected, len(places), len({place[CARD] for place in places if CARD in place}))


def describe(failures: dict[str, str], command: str) -> str:
    """Return the error of a stage some of whose seeds failed. `command`: what runs them again."""
    causes = " · ".join(f"{cause} (log: {LOGS}/{name}.log)" for name, cause in failures.items())
    return f"{causes}; the other seeds are done: `{command}` runs what failed"


def slots(settings: Train, limit: int | None = None, memory: int | None = None) -> list[dict[str, str]]:
    """Return the environment of each run that fits on this machine at a time; at least one.

    On GPUs: `train.runs_per_gpu` on each. Else: as many as there are cores for `train.threads`, and memory. `memory`:
    bytes of a run.

    Raises: GanealogyError when GANEALOGY_JOBS is no positive number.
    """
    cards = machine.gpus() if settings.device != "cpu" else []
    if cards:
        places = [{CARD: card} for _ in range(settings.runs_per_gpu) for card in cards]
    else:
        by_cores = machine.cores() // process.threads(settings.threads)
        places = [{} for _ in range(max(1, min(by_cores, machine.free_memory() // (memory or MEMORY))))]
    given = os.environ.get(LIMIT)
    if given is not None:
        if not given.isdecimal() or int(given) < 1:
            raise GanealogyError(f"environment: {LIMIT} = {given!r}: set it to a number of runs, or to 0")
        places = places[: int(given)]
    return places[:limit]
