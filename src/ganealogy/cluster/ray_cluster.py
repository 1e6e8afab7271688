"""Start Ray on this machine or connect to a running cluster, and fit the jobs to its resources.

Ray is an optional extra, so it is imported only by `ray_module`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ganealogy.errors import GanealogyError

CONNECT_TIMEOUT_S = 5.0
DESCRIBE_TIMEOUT_S = 12.0
START_ATTEMPTS = 3
OBJECT_STORE_BYTES = 100_000_000
"""It holds only the git bundle and lines of text."""


@dataclass(frozen=True)
class Allocation:
    """Number of jobs at a time, and the resources of each."""

    jobs: int
    threads: int
    """Per job."""
    gpus: int
    """Per job."""


def ray_module() -> Any:
    """Import and return Ray, with the settings that this project needs.

    Raises: GanealogyError when the extra is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's future default: without it Ray hides all GPUs from tasks that request none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's default of 15 is close to the 19 of MLflow's process: trainings of a minute took 10 % longer. Above 0, so
    # that trainings do not starve Ray's own processes.
    os.environ.setdefault("RAY_worker_niceness", "5")
    try:
        import ray
    except ImportError:
        raise GanealogyError("ganealogy repro needs Ray: pip install 'ganealogy[cluster]'") from None
    return ray


@contextmanager
def connected(address: str | None, dashboard: bool = True) -> Iterator[Any]:
    """Yield Ray, connected to `address` ("auto": this machine's running cluster) or started here for the block.

    Raises: GanealogyError when no cluster answers at `address`.
    """
    ray = ray_module()
    if address is None:
        context = _start(ray, dashboard)
    else:
        _check_reachable(address)
        try:
            context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise GanealogyError(f"--address {address}: {reason[:300]}") from None
    try:
        if context.dashboard_url:
            print(f"dashboard  http://{context.dashboard_url}", flush=True)
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, dashboard: bool) -> Any:
    """Start Ray; retry timeouts, because a busy machine may exceed Ray's limits of 15 to 30 s.

    Raises: GanealogyError when Ray does not start.
    """
    for attempt in range(START_ATTEMPTS):
        try:
            return ray.init(
                address="local",
                include_dashboard=dashboard,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except Exception as error:  # Ray raises plain exceptions
            if "timed out during startup" not in str(error) or attempt == START_ATTEMPTS - 1:
                raise GanealogyError(f"Ray did not start on this machine: {error}") from None
            ray.shutdown()
    return None


def _check_reachable(address: str) -> None:
    """Try `address` before Ray does, which takes half a minute to give up.

    Raises: GanealogyError when the connection fails.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise GanealogyError(
            f"--address {address}: no cluster answers ({error.strerror or error}); "
            "`ray start --head` prints the address"
        ) from None


def local_resources() -> list[dict[str, float]]:
    """Return this machine's CPUs as a list of one node, without starting Ray."""
    return [{"CPU": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1}]


def cluster_resources(ray: Any) -> list[dict[str, float]]:
    """Return the resources of each live node, such as {"CPU": 8, "GPU": 1}."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def allocate(nodes: list[dict[str, float]], jobs: int | None, threads: int, gpus_per_run: int | None) -> Allocation:
    """Fit jobs to the nodes' resources.

    `jobs`: None takes as many as fit. `threads`: the protocol's; reduced if `jobs` runs do not fit otherwise.
    `gpus_per_run`: None takes 1 if there are GPUs.

    Raises: GanealogyError when `jobs` runs do not fit with one thread each.
    """
    total_cpus, total_gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    gpus = (1 if total_gpus else 0) if gpus_per_run is None else gpus_per_run

    def capacity(threads: int) -> int:
        gpu_limits = [node.get("GPU", 0) // gpus if gpus else float("inf") for node in nodes]
        return int(
            sum(min(node.get("CPU", 0) // threads, limit) for node, limit in zip(nodes, gpu_limits, strict=True))
        )

    most = capacity(1)
    if most < (jobs or 1):
        resources = f"{total_cpus:g} CPUs and {total_gpus:g} GPUs on {len(nodes)} node{'s' if len(nodes) > 1 else ''}"
        per_run = f", {gpus} GPU{'s' if gpus > 1 else ''} per run" if gpus else ""
        hint = f"--jobs {most} at most" if most else "fewer --gpus-per-run"
        raise GanealogyError(f"--jobs {jobs or 1}: there are {resources}{per_run}: {hint}")
    fitting = next(count for count in range(threads, 0, -1) if count == 1 or capacity(count) >= (jobs or 1))
    return Allocation(jobs or capacity(fitting), fitting, gpus)


def check_versions(ray: Any, describe: Callable[[], dict[str, str]]) -> None:
    """Check that every node has this machine's versions of Python, torch and DVC: others compute other numbers.

    `describe`: the function that each node calls, `remote_run.describe`.

    Raises: GanealogyError naming the node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    expected = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "dvc")},
    }
    task = ray.remote(num_cpus=0, max_retries=0)(describe)
    references = {
        node["NodeManagerAddress"] + " " + node["NodeID"][:8]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0)
    }
    _, late = ray.wait(list(references.values()), num_returns=len(references), timeout=DESCRIBE_TIMEOUT_S)
    for address, reference in references.items():
        if reference in late:
            continue  # its workers start slowly; the run itself will report an error
        versions = ray.get(reference)
        if versions.get("problem"):
            raise GanealogyError(f"node {versions['node']} ({address}): {versions['problem']}")
        for name, version in expected.items():
            if versions[name] != version:
                raise GanealogyError(
                    f"node {versions['node']} ({address}) has {name} {versions[name]}, this machine {version}: "
                    "install the same environment on both"
                )
