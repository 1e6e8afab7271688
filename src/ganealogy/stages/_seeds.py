"""A stage of a version: its seeds side by side in workers, those that the store has excepted."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ganealogy.errors import GanealogyError, Remedy
from ganealogy.files import atomic
from ganealogy.params import schema
from ganealogy.record_types import VersionPlan
from ganealogy.runs import store
from ganealogy.runs.store import Entry
from ganealogy.runtime import process, workers
from ganealogy.runtime.workers import Ended
from ganealogy.stages import _jobs as jobs
from ganealogy.stages import _side_by_side as side_by_side
from ganealogy.stages import _stage
from ganealogy.stages._jobs import Job
from ganealogy.stages._stage import Stage
from ganealogy.workspace import LOGS, RunDir, main_root, plan_path, run_dir, work_dir


def run(name: str, version: str, seeds: Sequence[int] | None = None, ranks: int = 1) -> int:
    """Run the stage `name` for the seeds of a version. Return the exit code: 0, or 143 / 130 after SIGTERM / Ctrl-C.

    `seeds`: None takes the plan's. `ranks`: processes that share each run, which then run one after another.
    Raises: GanealogyError when a seed failed; the others are done, and the next run does that one alone.
    """
    process.die_with_parent()
    interruption = process.Interruption()
    stage = _stage.prepare(name, version)
    planned = _stage.read_plan(plan_path(version), VersionPlan)["seeds"]
    todo = [Job(version, seed, (name,)) for seed in (planned if seeds is None else seeds)]
    if "WORLD_SIZE" in os.environ:  # a rank of torchrun, which the stage below started
        for job in todo:
            jobs.work(job)
        return 0
    with process.explain_full_disk(*stage.outs):
        _stage.remove_temp_files(stage.outs)
        if seeds is None:
            remove_other_seeds(name, version, planned)
        lacking = [job for job in todo if not jobs.take(job)]
        if ranks > 1:
            failures = with_torchrun(ranks, lacking)
        else:
            failures = side_by_side.run(lacking, schema.load(), interruption)
        if interruption:
            print(f"ganealogy: {name} of {version} stopped; the next `dvc repro` resumes it", file=sys.stderr)
            return interruption.exit_code
        for job in lacking:
            if job.name not in failures and not jobs.take(job):
                failures[job.name] = f"{job.label}: its result is not in the store"
        stage.verify()
    if failures:
        raise GanealogyError(side_by_side.describe(failures, f"dvc repro {name}@{version}"))
    return 0


def remove_other_seeds(name: str, version: str, seeds: Sequence[int]) -> None:
    """Remove results of seeds that the plan no longer lists; the store keeps them."""
    folder = run_dir(version, 0).folders[name].parent
    for path in folder.glob("*"):
        if path.name.isdecimal() and int(path.name) not in seeds:
            shutil.rmtree(path)
            run_dir(version, int(path.name)).costs[name].unlink(missing_ok=True)


def with_torchrun(ranks: int, todo: Sequence[Job]) -> dict[str, str]:
    """Do the jobs one after another, each on several processes of this machine. Return failed run → cause.

    Raises: GanealogyError when the ranks do not divide the batch, or there are too few GPUs.
    """
    settings = schema.load().train
    threads = process.threads(settings.threads)
    if todo and todo[0].stages == ("train",) and settings.batch_size % ranks:
        raise GanealogyError(
            f"params.yaml: train.batch_size = {settings.batch_size} does not divide by {ranks} ranks: change one"
        )
    if _stage.setup_device(settings) == "cuda":
        import torch

        if torch.cuda.device_count() < ranks:
            raise GanealogyError(f"{ranks} ranks need a GPU each, and there are {torch.cuda.device_count()}")
    failures = {}
    for job in todo:
        if job.stages == ("train",) and (end := with_its_source(job, threads)) is not None and end.how != "done":
            if end.how == "stopped":
                break
            failures[job.name] = f"{job.label}: {end.reason}"
            continue
        verb = [job.stages[0], job.version, "--seeds", str(job.seed)]
        code = process.torchrun(ranks, verb, threads)
        if code in process.STOPPED:
            break
        if code:
            failures[job.name] = f"{job.label} ended with {code}"
    return failures


def with_its_source(job: Job, threads: int) -> Ended | None:
    """Train what a run starts from, in one process; None if it starts from random weights.

    A signal is sent again to the handlers of the caller.
    """
    if "from" not in _stage.read_plan(plan_path(job.version), VersionPlan):
        return None
    from ganealogy.stages.train import make_source

    handlers = {number: signal.getsignal(number) for number in (*process.stop_signals(), signal.SIGINT)}
    interruption = process.Interruption()
    try:
        ended = workers.run(make_source, [job], [{}], workers.Watcher(), main_root() / LOGS, interruption, threads)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if interruption.signal is not None:
        os.kill(os.getpid(), interruption.signal)
    return ended.get(job.name, Ended("stopped"))


@dataclass
class Making:
    """A result that is being made, in a folder of build/wip."""

    stage: Stage
    run: RunDir
    """Its stage's folder is the one to write to."""
    entry: Entry = None  # type: ignore[assignment]


@contextmanager
def making(name: str, version: str, seed: int, run: RunDir) -> Iterator[Making]:
    """Yield where to write the result of a stage; then verify code and inputs, and put it into the store.

    Another process that makes it is waited for: what this one then makes is the same bytes.
    """
    module = jobs.stage_module(name)
    made_from = module.made_from(version, seed, run)
    key = module.key(made_from)
    work, first = work_dir(key), process.is_first_rank()
    lock = process.exclusive_lock(work) if first else nullcontext()
    with process.explain_full_disk(work), lock:
        if first:
            shutil.rmtree(work / name, ignore_errors=True)
        stage = _stage.prepare(name, version)
        result = Making(stage, run.with_folder(name, work / name))
        began, used = time.monotonic(), time.process_time()
        yield result
        stage.verify()
        if first:
            cost = {"seconds": round(time.monotonic() - began, 3), "cpu_seconds": round(time.process_time() - used, 3)}
            result.entry = store.put(name, key, run.name, work / name, cost, made_from)
            shutil.rmtree(work)  # with the lock


def digest(path: Path, stage: str) -> str:
    """Return the sha256 of a record that `stage` makes. Raises: GanealogyError when there is none."""
    try:
        return atomic.sha256(path)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; {Remedy(stage).absent}") from None
