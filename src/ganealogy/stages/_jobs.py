"""A job: some stages of one version and seed, done in a worker, each result left in the store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ganealogy.errors import GanealogyError
from ganealogy.runs import store
from ganealogy.runs.store import Entry
from ganealogy.runtime import process
from ganealogy.runtime.workers import SendProgress
from ganealogy.workspace import RUN_STAGES, RunDir, run_dir, run_name, seed_name, work_dir


class RunStage(Protocol):
    """What `stages/train.py`, `sample.py` and `evaluate.py` have in common. `run`: the results of earlier stages."""

    def made_from(self, version: str, seed: int, run: RunDir) -> dict[str, str]:
        """Return the digests of all that the result depends on, without torch."""

    def key(self, made_from: dict[str, str]) -> str: ...
    def make(self, version: str, seed: int, run: RunDir, send_progress: SendProgress | None) -> Entry:
        """Make the result and put it into the store. Raises: Terminated or KeyboardInterrupt if it was stopped."""


def stage_module(stage: str) -> RunStage:
    """Return the module of a stage of `RUN_STAGES`."""
    from ganealogy.stages import evaluate, sample, train

    modules: dict[str, RunStage] = {"train": train, "sample": sample, "evaluate": evaluate}
    return modules[stage]


@dataclass(frozen=True)
class Job:
    version: str
    seed: int
    stages: tuple[str, ...] = RUN_STAGES
    vary: str = ""
    """See `RunDir.vary`."""

    @property
    def name(self) -> str:
        return run_name(self.version, self.seed, self.vary)

    @property
    def label(self) -> str:
        """The name in sentences."""
        return f"{self.version} seed {seed_name(self.seed, self.vary)}"

    @property
    def run(self) -> RunDir:
        """Where the first stage finds the results of earlier ones."""
        return run_dir(self.version, self.seed, vary=self.vary)


def find(job: Job) -> list[Entry]:
    """Return the entries that the store has, up to the first stage that it lacks or whose inputs are absent."""
    found: list[Entry] = []
    run = job.run
    for stage in job.stages:
        module = stage_module(stage)
        try:
            entry = store.find(stage, module.key(module.made_from(job.version, job.seed, run)))
        except GanealogyError:  # `work` will say so
            break
        if entry is None:
            break
        found.append(entry)
        run = run.with_folder(stage, entry.out)
    return found


def remaining(job: Job) -> Job:
    """Return the job with the stages that the store lacks only; maybe no stage."""
    return replace(job, stages=job.stages[len(find(job)) :])


def work(job: Job, send_progress: SendProgress | None = None) -> None:
    """Do the stages that the store lacks. Each finds the results of earlier ones in the store or in build/runs."""
    run = job.run
    for stage in job.stages:
        module = stage_module(stage)
        entry = store.find(stage, module.key(module.made_from(job.version, job.seed, run)))
        if entry is None or not store.is_intact(entry):
            if send_progress is not None:
                send_progress(stage=stage)
            entry = module.make(job.version, job.seed, run, send_progress)
        if entry is not None:  # only the first rank of several has one
            run = run.with_folder(stage, entry.out)


def take(job: Job) -> bool:
    """Copy the results into build/runs. Return False if the store lacks one."""
    entries = find(job)
    if len(entries) < len(job.stages) or not all(store.take(entry, job.run) for entry in entries):
        return False
    for entry in entries:
        process.remove_unless_held(work_dir(entry.path.name))  # left by one that was killed after it had published
    return True
