"""Run jobs as Ray tasks: as many at a time as the allocation allows, the next one when one ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganealogy.cluster import remote_run
from ganealogy.cluster.progress_table import ProgressTable
from ganealogy.cluster.ray_cluster import Allocation

POLL_S = 0.5
RETRIES = 5
"""Retries of a job whose node died. A job that fails is not retried."""
GRACE_S = 10.0
"""After Ctrl-C: time for the trainings to write a checkpoint."""

Work = Callable[[remote_run.Job, bytes, Any], remote_run.Result]
"""The function that a node calls, with a job, the git bundle and the handle of a `LogActor`."""


class LogActor:
    """A Ray actor on the driver's node that collects the lines of all jobs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def log(self, run: str, node: str, line: str) -> None:
        self.lines.append((run, node, line))

    def read(self) -> list[tuple[str, str, str]]:
        """Return (run, node, line) of each line since the last call."""
        lines, self.lines = self.lines, []
        return lines


def run_jobs(
    ray: Any,
    jobs: list[remote_run.Job],
    bundle: bytes,
    allocation: Allocation,
    logs: Path,
    work: Work = remote_run.run_job,
) -> dict[str, str]:
    """Call `work` for each job on the cluster; return the failed runs with their causes.

    `logs`: folder for the complete output of each run, <run>.log.
    """
    ray.cloudpickle.register_pickle_by_value(remote_run)
    log_actor = ray.remote(num_cpus=0)(LogActor).options(scheduling_strategy=_driver_node(ray)).remote()
    task = ray.remote(work)
    stored_bundle = ray.put(bundle)
    waiting = deque(jobs)
    running: dict[Any, str] = {}
    problems: dict[str, str] = {}
    with ProgressTable([job.run for job in jobs], logs) as table:

        def show_new_lines() -> None:
            for run, node, line in ray.get(log_actor.read.remote()):
                table.on_line(run, node, line)
            table.draw()

        try:
            while waiting or running:
                while waiting and len(running) < allocation.jobs:
                    job = waiting.popleft()
                    # Ray itself reschedules the job of a dead node, when another node has room.
                    options = task.options(
                        num_cpus=allocation.threads, num_gpus=allocation.gpus, max_retries=RETRIES, name=job.run
                    )
                    running[options.remote(job, stored_bundle, log_actor)] = job.run
                ready, _ = ray.wait(list(running), timeout=POLL_S)
                show_new_lines()
                for reference in ready:
                    run = running.pop(reference)
                    problem = _problem(ray, reference)
                    if problem is not None:
                        problems[run] = problem
                    table.set_state(run, "failed" if problem else "done", problem or "")
        except KeyboardInterrupt:
            for reference in running:
                ray.cancel(reference, force=True)
            time.sleep(GRACE_S)
            raise
    return problems


def _problem(ray: Any, reference: Any) -> str | None:
    """Return the cause of a failed job, in one line; None for success."""
    try:
        result: remote_run.Result = ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"
    return result.problem


def _driver_node(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
