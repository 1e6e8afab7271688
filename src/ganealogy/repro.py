"""Run `ganealogy repro`: the runs of all versions from one pool of workers, then `dvc repro`.

`dvc repro` runs the versions one after another, so that all but one core wait for the last seed of each. Here the pool
fills the store of finished runs for the whole tree first; DVC then finds every result there. dvc.lock is the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Settings, load
from ganealogy.runtime import dvc_rwlock, process
from ganealogy.stages import _jobs as jobs
from ganealogy.stages import _side_by_side as side_by_side
from ganealogy.stages._jobs import Job
from ganealogy.tracking.context import Context
from ganealogy.workspace import RUNS, RunDir

SHARED_STAGES = ["plan", "download", "preprocess", "reference"]

Fill = Callable[[list[Job], Settings, process.Interruption], "dict[str, str]"]
"""Do the jobs; return failed run → cause."""


def repro(limit: int | None = None, fill: Fill | None = None) -> int:
    """Run every outdated stage. Return the exit code: 0, or 143 / 130 after SIGTERM / Ctrl-C.

    `limit`: runs at a time; None takes as many as fit. `fill`: a cluster's way to do the jobs.

    Raises: GanealogyError, also when a run failed; the others are then done and in the report.
    """
    settings = load()
    dvc_rwlock.remove_broken(Path())
    dvc("repro", SHARED_STAGES[-1])
    interruption = process.Interruption()
    todo = [job for job in side_by_side.planned(settings) if jobs.remaining(job).stages]
    failures: dict[str, str] = {}
    if todo:
        failures = fill(todo, settings, interruption) if fill else side_by_side.run(todo, settings, interruption, limit)
    if interruption:
        print("ganealogy: stopped; the next `ganealogy repro` continues from here", file=sys.stderr)
        return interruption.exit_code
    process.default_signals()
    if failures:
        report_the_others(settings, failures)
        raise GanealogyError(side_by_side.describe(failures, "ganealogy repro"))
    with posting():
        dvc("repro")
    return 0


@contextmanager
def posting() -> Iterator[None]:
    """Post the finished runs to MLflow in a second process, while DVC takes them from the store one by one.

    The report's own sync then has little left to do, and prints failures, so this process prints nothing.
    """
    command = [sys.executable, "-m", "ganealogy", "sync", "--from-store"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as second:  # type: ignore[call-overload]
        try:
            yield
        finally:
            second.terminate()


def post_from_store() -> None:
    """Post the runs of the plan that the store has in whole."""
    process.die_with_parent()
    context = Context.load()
    for job in side_by_side.planned(load()):
        entries = jobs.find(job)
        if len(entries) == len(job.stages):
            folders = {entry.record["stage"]: entry.out for entry in entries}
            costs = {entry.record["stage"]: entry.cost for entry in entries}
            if tracking.sync(RunDir(job.version, job.seed, folders, costs), context=context).store_failed:
                return


def report_the_others(settings: Settings, failures: dict[str, str]) -> None:
    """Let DVC record the versions without a failure, and report all runs that are done."""
    failed = {job.version for job in side_by_side.planned(settings) if job.name in failures}
    whole = [f"evaluate@{version}" for version in settings.tree.versions if version not in failed]
    if whole:
        dvc("repro", *whole)
    for job in side_by_side.planned(settings):
        if job.version in failed and job.name not in failures:
            jobs.take(job)
    if RUNS.is_dir():  # else there is nothing to report
        dvc("repro", "--single-item", "report")


def dvc(*arguments: str) -> None:
    """Run DVC in the workspace. Raises: GanealogyError when it fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    code = subprocess.run([sys.executable, "-m", "dvc", *arguments], env=environment, check=False).returncode
    if code:
        raise GanealogyError(f"dvc {' '.join(arguments[:3])} ended with {code}")
