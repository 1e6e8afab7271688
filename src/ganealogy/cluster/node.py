"""Do one job on a node of the cluster, in a folder with the code, the plan and the parameters.

Inputs and finished stages come from the DVC remote, and results and checkpoints go there. Without a remote, the
project's own folders are used: the node sees them. The stages run in a worker process as on a single machine
(`runtime/workers.py`), so that storage clients are never in the process that trains.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from ganealogy.cluster.checkpoint_sync import Mirror
from ganealogy.cluster.node_task import MESSAGE
from ganealogy.cluster.transfer import Remote
from ganealogy.runs import store
from ganealogy.runtime import process, workers
from ganealogy.runtime.workers import Ended
from ganealogy.stages import _jobs as jobs
from ganealogy.stages import _seeds, train
from ganealogy.stages._jobs import Job
from ganealogy.workspace import LOGS

EVERY_S = 1.0
"""Shortest time between two messages of a running job."""
LAST_UPLOAD_S = 60
"""Longest time for the upload of the last checkpoint after SIGTERM."""


class Request(TypedDict):
    version: str
    seed: int
    stages: list[str]
    remote: dict[str, Any] | None
    """Settings of the DVC remote; None: the project's folder is used, which DVC_ROOT names."""
    inputs: dict[str, str]
    """Folder such as data/packed → its digest on the remote, or its path without a remote."""
    threads: int
    ranks: int
    """Processes that share each batch, one per GPU."""
    scratch: str
    """The node's folder for this project."""
    parent: int
    """Id of the process to end with."""


def main() -> None:
    """Do the job that standard input describes; print messages, the last with the outcome."""
    process.raise_on_stop()
    request: Request = json.load(sys.stdin)
    process.die_with_parent()
    if os.getppid() != request["parent"]:
        sys.exit(process.TERMINATED)
    job = Job(request["version"], request["seed"], tuple(request["stages"]))
    logs = Path(LOGS).resolve()  # in this folder, also when DVC_ROOT names the project
    reporter = Reporter(logs / f"{job.name}.log")
    tried = workers.attempt(lambda: do(job, request, reporter, logs))
    ended: Ended = tried.value if tried.how == "done" else tried
    results = [entry.path.parts[-2:] for entry in jobs.find(job)] if ended.how == "done" else []
    reporter.flush(ended=[ended.how, ended.reason, results])


def do(job: Job, request: Request, reporter: Reporter, logs: Path) -> Ended:
    """Fetch what the job needs, do its stages, and upload the results. Raises: GanealogyError for the storage."""
    remote = Remote(request["remote"]) if request["remote"] else None
    reporter.state("data")
    for name, source in request["inputs"].items():
        folder = remote.fetch_input(source, Path(request["scratch"]) / "inputs") if remote else Path(source)
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(folder)
    if remote is None:
        return work(job, request, reporter, logs)
    remote.pull(job)
    key = train.key(train.made_from(job.version, job.seed, job.run))
    mirror = Mirror(remote, key)
    if store.find("train", key) is None:
        mirror.fetch()
    with mirror.following():
        ended = work(job, request, reporter, logs)
    if ended.how == "done":
        reporter.state("upload")
        remote.push(job)
        mirror.delete()
    return ended


def work(job: Job, request: Request, reporter: Reporter, logs: Path) -> Ended:
    """Do the stages that the store lacks."""
    interruption = process.Interruption()

    def in_a_worker(job: Job) -> Ended:
        ended = workers.run(jobs.work, [job], [{}], reporter, logs, interruption, request["threads"])
        return ended.get(job.name, Ended("stopped"))

    try:
        return with_ranks(job, request["ranks"], in_a_worker) if request["ranks"] > 1 else in_a_worker(job)
    finally:
        if interruption and hasattr(signal, "alarm"):
            signal.alarm(LAST_UPLOAD_S)  # ends this process if the storage does not answer
        process.default_signals()


def with_ranks(job: Job, ranks: int, in_a_worker: Any) -> Ended:
    """Do the stages one after another, train and evaluate on several processes each."""
    for stage in job.stages:
        part = replace(job, stages=(stage,))
        if jobs.take(part):
            continue
        if stage == "sample":
            ended = in_a_worker(part)
            if ended.how != "done":
                return ended
        elif failures := _seeds.with_torchrun(ranks, [part]):
            return Ended("error", reason=failures[part.name])
        if not jobs.take(part):
            return Ended("stopped")
    return Ended("done")


class Reporter(workers.Watcher):
    """Prints a message per second with the progress and the new part of the log."""

    def __init__(self, log: Path) -> None:
        self.log, self.read = log, 0
        self.progress: dict[str, Any] = {}
        self.lines: list[str] = []
        self.sent = 0.0

    def state(self, name: str) -> None:
        self.progress["stage"] = name
        self.flush()

    def on_progress(self, name: str, progress: Mapping[str, Any]) -> None:
        self.progress |= progress

    def on_line(self, name: str, line: str) -> None:
        self.lines.append(line)

    def draw(self) -> None:
        if time.monotonic() - self.sent >= EVERY_S:
            self.flush()

    def flush(self, **more: Any) -> None:
        """Print what is new. A reader that is gone is no error: SIGTERM comes, too."""
        if self.log.is_file():
            with open(self.log, "rb") as file:
                file.seek(self.read)
                if new := file.read():
                    self.read += len(new)
                    more["log"] = new.decode(errors="replace")
        if self.progress:
            more["progress"] = self.progress
        if self.lines:
            more["lines"] = self.lines
        self.progress, self.lines, self.sent = {}, [], time.monotonic()
        if more:
            with contextlib.suppress(OSError):
                print(MESSAGE + json.dumps(more, default=float), flush=True)
