"""Do the jobs of `ganealogy repro` on a Ray cluster: they fill the same store of finished runs as the local workers."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import os
import platform
import queue
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ganealogy.cluster import dvc_remote, node_task, ray_cluster
from ganealogy.cluster.node_task import Board, Task
from ganealogy.cluster.ray_cluster import Allocation
from ganealogy.cluster.transfer import Remote
from ganealogy.errors import GanealogyError
from ganealogy.lineage import fingerprint
from ganealogy.params.schema import Settings, load
from ganealogy.repro import Fill
from ganealogy.runs import store
from ganealogy.runs.table import RunTable
from ganealogy.runtime import process, workers
from ganealogy.runtime.workers import Ended
from ganealogy.stages._jobs import Job
from ganealogy.workspace import LOGS, PACKED, PARAMS, PLAN, REFERENCE, WEIGHTS

POLL_S = 0.5
RETRIES = 5
"""Retries of a job whose node died. A job that fails is not retried."""
GRACE_S = 60.0
"""After Ctrl-C: longest time for the trainings to write and upload a checkpoint."""
INPUTS = (PACKED, REFERENCE, WEIGHTS)

Work = Callable[[Task, bytes, Any], node_task.Outcome]
"""The function that a node calls, with a task, the bundle and the handle of a `Board`."""


@contextmanager
def on_cluster(
    address: str, limit: int | None = None, gpus_per_run: int | None = None, dashboard: bool = True
) -> Iterator[Fill]:
    """Yield the `fill` of `repro.repro`, connected to the cluster at `address`.

    `limit`: runs at a time; None takes as many as fit. `gpus_per_run`: None takes what
    `train.runs_per_gpu` says where there are GPUs.

    Raises: GanealogyError when there is no cluster, a node has other versions, `limit` runs do not fit, or data and
    results cannot travel: there is neither a DVC remote nor a project folder that every node sees.
    """
    root = Path().resolve()
    settings = load()
    threads = process.threads(settings.train.threads)
    if settings.train.device == "cpu" and gpus_per_run is None:
        gpus_per_run = 0
    with ray_cluster.connected(address, dashboard) as ray:
        shared_by = settings.train.runs_per_gpu
        fit = partial(ray_cluster.allocate, threads=threads, gpus_per_run=gpus_per_run, runs_per_gpu=shared_by)
        fit(ray_cluster.cluster_resources(ray), limit)
        ray.cloudpickle.register_pickle_by_value(node_task)
        all_see = ray_cluster.check_nodes(ray, node_task.describe, root)
        storage = dvc_remote.find(root)
        if storage is None and not all_see:
            raise GanealogyError(
                ".dvc/config: no default remote, and not every node sees this folder; add a remote that every node "
                "can reach: dvc remote add -d store ADDRESS"
            )

        def fill(todo: list[Job], settings: Settings, interruption: process.Interruption) -> dict[str, str]:
            most = min(limit, len(todo)) if limit else None
            room = fit(ray_cluster.cluster_resources(ray), most)
            return do(ray, todo, room, storage, root, threads, interruption)

        yield fill


def do(
    ray: Any,
    todo: list[Job],
    allocation: Allocation,
    storage: dict[str, Any] | None,
    root: Path,
    threads: int,
    interruption: process.Interruption,
) -> dict[str, str]:
    """Do the jobs. Return failed run → cause. `storage`: settings of the remote; `threads`: the protocol's.

    Raises: GanealogyError when the remote fails before the first job begins.
    """
    remote = Remote(storage) if storage else None
    inputs = {str(folder): str(root / folder) for folder in (PACKED, REFERENCE)}
    if remote is not None:
        todo = [job for job in todo if not remote.pull(job)]
        inputs = {str(folder): remote.send_input(folder) for folder in INPUTS if any(folder.glob("*"))}
        for job in todo:
            remote.push(job)
    if not todo:
        return {}
    announce(len(todo), allocation, threads)
    request = {"remote": storage, "inputs": inputs, "threads": allocation.threads}
    tasks = {job.name: task(job, request, allocation, root) for job in todo}

    def collect(end: Ended) -> None:
        for stage, key in end.value:  # the node names them: here the plan may have changed meanwhile
            if store.find(stage, key) is None and (remote is None or remote.pull_entry(stage, key) is None):
                raise GanealogyError(f"its result of {stage} is not in the store")

    with RunTable(tasks, allocation.jobs) as table:
        watch = Watch(table, root / LOGS)
        ended = run_tasks(ray, list(tasks.values()), bundle(), allocation, watch, interruption, collect)
    ends = [(job, ended[job.name]) for job in todo if job.name in ended]
    return {
        job.name: f"{job.version} seed {job.seed}: {end.reason or 'it was stopped'}"
        for job, end in ends
        if end.failed or (end.how == "stopped" and not interruption)
    }


def announce(runs: int, allocation: Allocation, threads: int) -> None:
    """Print what will run. `threads`: the protocol's."""
    each = [(allocation.threads, "thread"), (allocation.gpus, "GPU")]
    shares = [f", {count:.2g} {what}{'s'[: count > 1]} each" for count, what in each if count]
    print(f"{runs} run{'s'[: runs > 1]}, {min(allocation.jobs, runs)} at a time{''.join(shares)}", flush=True)
    if allocation.threads != threads:
        print(f"train.threads is {threads}: with {allocation.threads}, the last bits differ from `dvc repro`")


def task(job: Job, request: dict[str, Any], allocation: Allocation, root: Path) -> Task:
    """Return the task of a job. `request`: what all have in common."""
    own = {"version": job.version, "seed": job.seed, "stages": list(job.stages), "ranks": int(max(1, allocation.gpus))}
    count = str(allocation.threads)
    environment = {"GANEALOGY_THREADS": count, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    if request["remote"] is None:
        environment["DVC_ROOT"] = str(root)  # see `workspace.main_root`
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):  # nodes can post to a server while a run trains
        environment |= {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_TRACKING_")}
    project = hashlib.sha256(f"{platform.node()}:{root}".encode()).hexdigest()[:12]
    return Task(project, job.name, {**request, **own}, environment)


def bundle() -> bytes:
    """Return a zip of all small files that a job reads: the package, the plan, params.yaml and dvc.yaml."""
    package = Path("src") / fingerprint.PACKAGE
    code = {package / path.relative_to(fingerprint.SOURCE): path for path in fingerprint.SOURCE.rglob("*")}
    files = {**code, **{path: path for path in (PARAMS, Path("dvc.yaml"), *PLAN.rglob("*"))}}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, str(name))
    return content.getvalue()


class Watch:
    """Passes messages of the nodes on to the table and to the logs of the runs."""

    def __init__(self, table: RunTable, logs: Path) -> None:
        """`logs`: folder for the complete output of each run, <run>.log."""
        self.table, self.logs = table, logs
        self.begun: set[str] = set()
        logs.mkdir(parents=True, exist_ok=True)

    def on_message(self, name: str, message: dict[str, Any]) -> None:
        node, log = message["node"], message.get("log", "")
        if message.get("begin"):
            if name in self.begun:
                log = f"restarted on {node}\n{log}"
                self.table.on_line(name, f"{name}: restarted on {node}")
            else:
                (self.logs / f"{name}.log").unlink(missing_ok=True)
            self.begun.add(name)
            self.table.on_start(name)
        self.table.on_progress(name, {**message.get("progress", {}), "node": node})
        for line in message.get("lines", ()):
            self.table.on_line(name, line)
        if log:
            with open(self.logs / f"{name}.log", "a", encoding="utf-8") as file:
                file.write(log)


def run_tasks(
    ray: Any,
    tasks: Sequence[Task],
    content: bytes,
    allocation: Allocation,
    watch: Watch,
    interruption: process.Interruption,
    collect: Callable[[Ended], None],
    work: Work = node_task.run_task,
) -> dict[str, Ended]:
    """Call `work` for each task on the cluster, as many at a time as the allocation allows. Return how each ended.

    `content`: the bundle. `collect`: takes the results of a run that is done, or raises GanealogyError. After an
    interruption the running tasks get `GRACE_S` seconds, and those that did not begin are left out.
    """
    ray.cloudpickle.register_pickle_by_value(node_task)
    board = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=_driver_node(ray)).remote()
    remote_work, stored = ray.remote(work), ray.put(content)
    # Ray itself reschedules the task of a dead node, when another node has room.
    options = {"num_cpus": allocation.threads, "num_gpus": allocation.gpus, "max_retries": RETRIES}
    running: dict[str, Any] = {}
    finished: queue.SimpleQueue[tuple[str, Ended | None]] = queue.SimpleQueue()

    def do_one(one: Task) -> None:
        def on_a_node() -> Ended:
            running[one.name] = remote_work.options(name=one.name, **options).remote(one, stored, board)
            end = _outcome(ray, running[one.name])
            if end.how == "done":
                collect(end)
            return end

        end = None
        if not interruption:
            tried = workers.attempt(on_a_node)
            end = tried.value if tried.how == "done" else tried
        running.pop(one.name, None)
        finished.put((one.name, end))

    ended: dict[str, Ended] = {}
    left, deadline = len(tasks), float("inf")
    with concurrent.futures.ThreadPoolExecutor(allocation.jobs) as places:
        for one in tasks:
            places.submit(do_one, one)
        try:
            while left and time.monotonic() < deadline:
                name, end = _next(finished)
                for sender, message in ray.get(board.read.remote()):
                    watch.on_message(sender, message)
                left -= name is not None
                if name is not None and end is not None:
                    ended[name] = end
                    watch.table.on_end(name, end)
                if interruption and deadline == float("inf"):
                    deadline = time.monotonic() + GRACE_S
                    for reference in list(running.values()):
                        ray.cancel(reference)
                watch.table.draw()
        finally:  # also after a second Ctrl-C
            places.shutdown(wait=False, cancel_futures=True)
            for reference in list(running.values()):
                ray.cancel(reference, force=True)
    return ended


def _next(finished: queue.SimpleQueue[tuple[str, Ended | None]]) -> tuple[str | None, Ended | None]:
    try:
        return finished.get(timeout=POLL_S)
    except queue.Empty:
        return None, None


def _outcome(ray: Any, reference: Any) -> Ended:
    try:
        how, reason, value = ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return Ended("stopped")
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Ended("killed", reason=f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}")
    return Ended(how, value, reason)


def _driver_node(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
