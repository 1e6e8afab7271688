"""`ganealogy repro`: DVC keeps the record, Ray does the running.

The first stages run here, once. Then each version and seed is a Ray task in a clone of its own (`errand.py`), as many
side by side as there is room. In the end DVC here finds every stage done, takes the outputs and runs the report:
dvc.lock is the one that `dvc repro` writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganealogy.cluster import dvc_remote, ray_cluster, remote_run, scheduler, workspace_commit
from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Settings, load
from ganealogy.runtime import dvc_rwlock, process
from ganealogy.workspace import (
    CLUSTER_LOGS,
    MANIFEST,
    ManifestJson,
    VersionPlan,
    plan_path,
    read_record,
    run_key,
    run_name,
)

FIRST = ["plan", "download", "preprocess", "reference"]


def repro(
    jobs: int | None = None,
    address: str | None = None,
    gpus_per_run: int | None = None,
    dashboard: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Bring everything up to date, runs side by side.

    `jobs`: at most so many at a time; `address`: a running cluster's, else this machine is used alone. What is wrong
    with these, or with the remote, is said before anything runs.

    Raises: GanealogyError, also when a run failed; the others are then done and in the report.
    """
    root = Path().resolve()
    settings = load()
    ray_cluster.ray_module()
    dvc_rwlock.remove_broken(root)
    store = dvc_remote.find(root, alone=address is None)
    threads = process.threads(settings.train.threads)
    if settings.train.device == "cpu" and gpus_per_run is None:
        gpus_per_run = 0
    with contextlib.ExitStack() as stack:
        ray = None
        if address is None:
            ray_cluster.room(ray_cluster.this_machine(), jobs, threads, gpus_per_run=0)
        if address is not None or gpus_per_run:  # how many GPUs there are, Ray finds out
            ray = stack.enter_context(ray_cluster.connected(address, dashboard))
            ray_cluster.room(ray_cluster.nodes(ray), jobs, threads, gpus_per_run)
        if address is not None:
            ray_cluster.agree(ray, remote_run.describe)
        _dvc("repro", FIRST[-1])
        planned, todo = _plan(root, settings)
        if todo and ray is None:
            ray = stack.enter_context(ray_cluster.connected(None, dashboard))
        problems = _run(ray, root, settings, store, planned, todo, jobs, gpus_per_run, say) if todo else {}
    _finish(root, settings, store, planned, problems)


def names(settings: Settings) -> list[str]:
    return [run_name(version, seed) for version in settings.tree.versions for seed in settings.tree.seeds]


def _plan(root: Path, settings: Settings) -> tuple[workspace_commit.Commit, list[str]]:
    """The workspace as a commit, and the runs that are not done in it."""
    planned = workspace_commit.take(root)
    targets = [f"evaluate@{run}" for run in names(settings)]
    # It ends with an error where a stage's input is still to be made, after it has named the stage that makes it.
    output = _dvc("repro", "--dry", "--keep-going", "--allow-missing", *targets, quiet=True, check=False)
    stale = {line.split("'")[1].partition("@")[2] for line in output.splitlines() if line.startswith("Running stage '")}
    return planned, [run for run in names(settings) if run in stale]


def _run(
    ray: Any,
    root: Path,
    settings: Settings,
    store: dvc_remote.Storage,
    planned: workspace_commit.Commit,
    todo: list[str],
    jobs: int | None,
    gpus_per_run: int | None,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Do the runs; returns what went wrong with which."""
    wanted = process.threads(settings.train.threads)
    room = ray_cluster.room(ray_cluster.nodes(ray), min(jobs, len(todo)) if jobs else None, wanted, gpus_per_run)
    told = [f"{len(todo)} run{'s'[: len(todo) > 1]}, {min(room.jobs, len(todo))} at a time"]
    told.append(f", {room.threads} thread{'s'[: room.threads > 1]} each")
    told.append(f", {room.gpus} GPU{'s'[: room.gpus > 1]} each" if room.gpus else "")
    told.append(f"; uncommitted changes in {planned.uncommitted} files go along" if planned.uncommitted else "")
    say("".join(told))
    if room.threads != wanted:
        say(f"train.threads is {wanted}: with {room.threads} the last bits differ from those of `dvc repro`")
    if store.name:
        _dvc("push", "--run-cache", "plan", "preprocess", "reference", quiet=True)
    orders = [_order(root, store, run, room) for run in todo]
    return scheduler.carry_out(ray, orders, workspace_commit.bundle(root), room, root / CLUSTER_LOGS)


def _order(root: Path, store: dvc_remote.Storage, run: str, room: ray_cluster.Room) -> remote_run.Order:
    version, _, seed = run.rpartition("-")
    plan = read_record(root / plan_path(version), VersionPlan, "run `dvc repro plan`", ("fingerprint",))
    manifest = read_record(root / MANIFEST, ManifestJson, "run `dvc repro preprocess`", ("dataset",))
    threads = str(room.threads)
    environment = {"GANEALOGY_THREADS": threads, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):  # curves go there while a run trains
        environment |= {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_TRACKING_")}
    if room.gpus > 1:
        environment["GANEALOGY_RANKS"] = str(room.gpus)
    alone = store.name is None
    return remote_run.Order(
        project=hashlib.sha256(f"{os.uname().nodename}:{root}".encode()).hexdigest()[:12],
        run=run,
        ref=workspace_commit.REF,
        config=store.config,
        cache_mark=dvc_remote.NODE_CACHE,
        cache=store.cache,
        home=str(root) if alone else None,
        remote=store.name,
        key=run_key(plan["fingerprint"], manifest["dataset"], int(seed)),
        environment=environment,
    )


def _finish(
    root: Path,
    settings: Settings,
    store: dvc_remote.Storage,
    planned: workspace_commit.Commit,
    problems: dict[str, str],
) -> None:
    """Take the results: every stage is found done, and the report runs.

    Raises: GanealogyError when the workspace was edited meanwhile, or when a run failed.
    """
    if store.name:
        _dvc("fetch", "--run-cache", quiet=True)
    if workspace_commit.take(root).tree != planned.tree:
        raise GanealogyError(
            "the workspace was edited while the runs went; their results are kept. "
            "`ganealogy repro` takes them and runs what the edit asks for"
        )
    pull = ["--pull"] if store.name else []
    if not problems:
        _dvc("repro", *pull)
        return
    done = [run for run in names(settings) if run not in problems]
    if done:
        _dvc("repro", *pull, *(f"evaluate@{run}" for run in done))
        _dvc("repro", "--single-item", "report")
    told = " · ".join(f"{run}: {problem}" for run, problem in problems.items())
    raise GanealogyError(f"{len(problems)} of {len(problems) + len(done)} runs failed: {told} (logs in {CLUSTER_LOGS})")


def _dvc(*arguments: str, quiet: bool = False, check: bool = True) -> str:
    """DVC in this workspace; its output, where it is not shown.

    Raises: GanealogyError when it fails; it has said why.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, env=environment, text=True, check=False, **({"capture_output": True} if quiet else {})
    )  # type: ignore[call-overload]
    if done.returncode and check:
        detail = (done.stderr or "").strip().splitlines() if quiet else []
        why = next((line for line in reversed(detail) if line.startswith("ERROR: ")), None)
        raise GanealogyError(
            f"dvc {' '.join(arguments[:3])} ended with {done.returncode}" + (f": {why}" if why else "")
        )
    return done.stdout or ""
