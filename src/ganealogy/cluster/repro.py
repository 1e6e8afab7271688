"""Run `ganealogy repro`: Ray runs the versions and seeds, DVC records their results.

The shared stages run in the workspace, once. Then each version and seed is a Ray task in its own clone
(`remote_run.py`). Finally DVC in the workspace finds all stages done, takes their outputs and runs the report. dvc.lock
is the same as after `dvc repro`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ganealogy.cluster import dvc_remote, ray_cluster, remote_run, scheduler, workspace_commit
from ganealogy.errors import GanealogyError
from ganealogy.files.records import read_record
from ganealogy.params.schema import Settings, load
from ganealogy.runtime import dvc_rwlock, process
from ganealogy.workspace import CLUSTER_LOGS, MANIFEST, ManifestJson, VersionPlan, plan_path, run_key, run_name

SHARED_STAGES = ["plan", "download", "preprocess", "reference"]


def repro(
    jobs: int | None = None,
    address: str | None = None,
    gpus_per_run: int | None = None,
    dashboard: bool = True,
    print_line: Callable[[str], None] = print,
) -> None:
    """Run every outdated stage, with up to `jobs` runs at a time.

    `address`: a running cluster; None uses this machine. Arguments and the remote are checked before any stage runs.

    Raises: GanealogyError, also when a run failed; the other runs are then done and in the report.
    """
    root = Path().resolve()
    settings = load()
    ray_cluster.ray_module()
    dvc_rwlock.remove_broken(root)
    storage = dvc_remote.find(root, single_machine=address is None)
    threads = process.threads(settings.train.threads)
    if settings.train.device == "cpu" and gpus_per_run is None:
        gpus_per_run = 0
    with contextlib.ExitStack() as stack:
        ray = None
        if address is None:
            ray_cluster.allocate(ray_cluster.local_resources(), jobs, threads, gpus_per_run=0)
        if address is not None or gpus_per_run:  # only Ray knows the number of GPUs
            ray = stack.enter_context(ray_cluster.connected(address, dashboard))
            ray_cluster.allocate(ray_cluster.cluster_resources(ray), jobs, threads, gpus_per_run)
        if address is not None:
            ray_cluster.check_versions(ray, remote_run.describe)
        _dvc("repro", SHARED_STAGES[-1])
        commit = workspace_commit.create(root)
        outdated = _outdated_runs(settings)
        problems: dict[str, str] = {}
        if outdated:
            ray = ray or stack.enter_context(ray_cluster.connected(None, dashboard))
            nodes = ray_cluster.cluster_resources(ray)
            most = min(jobs, len(outdated)) if jobs else None
            allocation = ray_cluster.allocate(nodes, most, threads, gpus_per_run)
            for line in _announcement(len(outdated), allocation, threads, commit.uncommitted):
                print_line(line)
            if storage.name:
                _dvc("push", "--run-cache", "plan", "preprocess", "reference", quiet=True)
            queue = [_job(root, storage, run, allocation) for run in outdated]
            bundle = workspace_commit.bundle(root)
            problems = scheduler.run_jobs(ray, queue, bundle, allocation, root / CLUSTER_LOGS)
    _finish(root, settings, storage, commit, problems)


def run_names(settings: Settings) -> list[str]:
    """Return `<version>-<seed>` of all runs."""
    return [run_name(version, seed) for version in settings.tree.versions for seed in settings.tree.seeds]


def _outdated_runs(settings: Settings) -> list[str]:
    """Return the runs with a stage that `dvc repro` would run."""
    targets = [f"evaluate@{run}" for run in run_names(settings)]
    # DVC exits with an error when an input does not exist yet, but only after it has named the stage that makes it.
    output = _dvc("repro", "--dry", "--keep-going", "--allow-missing", *targets, quiet=True, check=False)
    stages = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
    outdated = {stage.partition("@")[2] for stage in stages}
    return [run for run in run_names(settings) if run in outdated]


def _announcement(runs: int, allocation: ray_cluster.Allocation, threads: int, uncommitted: int) -> list[str]:
    """Return the lines to print before the runs. `threads`: the protocol's."""
    parts = [
        f"{runs} run{'s'[: runs > 1]}, {min(allocation.jobs, runs)} at a time",
        f", {allocation.threads} thread{'s'[: allocation.threads > 1]} each",
        f", {allocation.gpus} GPU{'s'[: allocation.gpus > 1]} each" if allocation.gpus else "",
        f"; uncommitted changes in {uncommitted} files are included" if uncommitted else "",
    ]
    lines = ["".join(parts)]
    if allocation.threads != threads:
        lines.append(f"train.threads is {threads}: with {allocation.threads}, the last bits differ from `dvc repro`")
    return lines


def _job(root: Path, storage: dvc_remote.Storage, run: str, allocation: ray_cluster.Allocation) -> remote_run.Job:
    version, _, seed = run.rpartition("-")
    plan: VersionPlan = read_record(root / plan_path(version), "run `dvc repro plan`", ("fingerprint",))
    manifest: ManifestJson = read_record(root / MANIFEST, "run `dvc repro preprocess`", ("dataset",))
    threads = str(allocation.threads)
    environment = {"GANEALOGY_THREADS": threads, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):  # nodes can post to a server while a run trains
        environment |= {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_TRACKING_")}
    if allocation.gpus > 1:
        environment["GANEALOGY_RANKS"] = str(allocation.gpus)
    return remote_run.Job(
        project=hashlib.sha256(f"{os.uname().nodename}:{root}".encode()).hexdigest()[:12],
        run=run,
        ref=workspace_commit.REF,
        config=storage.config,
        cache_placeholder=dvc_remote.CACHE_PLACEHOLDER,
        cache=storage.cache,
        workspace=str(root) if storage.name is None else None,
        remote=storage.name,
        key=run_key(plan["fingerprint"], manifest["dataset"], int(seed)),
        environment=environment,
    )


def _finish(
    root: Path,
    settings: Settings,
    storage: dvc_remote.Storage,
    commit: workspace_commit.Commit,
    problems: dict[str, str],
) -> None:
    """Take the results into the workspace and run the report. `problems`: failed run → cause.

    Raises: GanealogyError when the workspace has changed since `commit`, or when a run failed.
    """
    if storage.name:
        _dvc("fetch", "--run-cache", quiet=True)
    if workspace_commit.create(root).tree != commit.tree:
        raise GanealogyError(
            "the workspace was edited during the runs; their results are in the cache. "
            "Run `ganealogy repro` again: it takes them and runs the stages that the edit affects"
        )
    pull = ["--pull"] if storage.name else []
    if not problems:
        _dvc("repro", *pull)
        return
    done = [run for run in run_names(settings) if run not in problems]
    if done:
        _dvc("repro", *pull, *(f"evaluate@{run}" for run in done))
        _dvc("repro", "--single-item", "report")
    causes = " · ".join(f"{run}: {problem}" for run, problem in problems.items())
    total = len(problems) + len(done)
    raise GanealogyError(f"{len(problems)} of {total} runs failed: {causes} (logs in {CLUSTER_LOGS})")


def _dvc(*arguments: str, quiet: bool = False, check: bool = True) -> str:
    """Run DVC in the workspace. With `quiet`, return its output; otherwise print it.

    Raises: GanealogyError when DVC fails and `check` is on.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, env=environment, text=True, check=False, capture_output=quiet)
    if result.returncode and check:
        errors = (result.stderr or "").strip().splitlines()
        reason = next((line for line in reversed(errors) if line.startswith("ERROR: ")), None)
        raise GanealogyError(
            f"dvc {' '.join(arguments[:3])} ended with {result.returncode}" + (f": {reason}" if reason else "")
        )
    return result.stdout or ""
