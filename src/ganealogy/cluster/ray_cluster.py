"""A Ray cluster to work on: this machine's own, or one that runs already; what it has, and whether it fits.

Ray is an optional extra: nothing here is imported before a person asks for it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ganealogy.errors import GanealogyError

ANSWER_S = 5.0
PROBE_S = 12.0
START_ATTEMPTS = 3
OBJECT_STORE_BYTES = 100_000_000
"""Only the repository's bundle and lines of text pass through it."""


@dataclass(frozen=True)
class Room:
    """How many runs go side by side, and with what."""

    jobs: int
    threads: int
    gpus: int
    """For each run."""


def ray_module() -> Any:
    """Raises: GanealogyError when the extra is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What becomes Ray's default: a task without GPUs must not be told that there are none anywhere.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's own 15 lets anything else go first, MLflow's process (19) almost as an equal, too: a training of a minute
    # lost a tenth. Above 0, so that Ray's processes still get their turn beside trainings.
    os.environ.setdefault("RAY_worker_niceness", "5")
    try:
        import ray
    except ImportError:
        raise GanealogyError("ganealogy repro needs Ray: pip install 'ganealogy[cluster]'") from None
    return ray


@contextmanager
def connected(address: str | None, dashboard: bool = True) -> Iterator[Any]:
    """Ray, joined to `address` ("auto": the cluster of this machine), or started here for as long as this lasts.

    Raises: GanealogyError when nobody answers there.
    """
    ray = ray_module()
    if address is None:
        context = _start(ray, dashboard)
    else:
        _answers(address)
        try:
            context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            detail = " ".join(str(error).split())
            raise GanealogyError(f"--address {address}: {detail[:300]}") from None
    try:
        if context.dashboard_url:
            print(f"dashboard  http://{context.dashboard_url}", flush=True)
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, dashboard: bool) -> Any:
    """Ray gives its own processes 15 to 30 s to start; where a busy machine misses that, they get a second chance.

    Raises: GanealogyError when they do not start.
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
        except Exception as error:  # Ray raises plain ones
            if "timed out during startup" not in str(error) or attempt == START_ATTEMPTS - 1:
                raise GanealogyError(f"Ray did not start here: {error}") from None
            ray.shutdown()
    return None


def _answers(address: str) -> None:
    """Ray itself tries for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise GanealogyError(
            f"--address {address}: nobody answers there ({error.strerror or error}); "
            "`ray start --head` prints the address"
        ) from None


def this_machine() -> list[dict[str, float]]:
    """Its processors, before Ray is started: too many jobs are refused at once."""
    return [{"CPU": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1}]


def nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room(nodes: list[dict[str, float]], jobs: int | None, threads: int, gpus_per_run: int | None) -> Room:
    """`threads`: the protocol's; fewer where `jobs` runs do not fit otherwise.

    Raises: GanealogyError when the nodes cannot hold so many runs.
    """
    total_cpus, total_gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    gpus = (1 if total_gpus else 0) if gpus_per_run is None else gpus_per_run

    def fit(each: int) -> int:
        by_gpu = [node.get("GPU", 0) // gpus if gpus else float("inf") for node in nodes]
        return int(sum(min(node.get("CPU", 0) // each, most) for node, most in zip(nodes, by_gpu, strict=True)))

    has = f"{total_cpus:g} CPUs and {total_gpus:g} GPUs on {len(nodes)} node{'s' if len(nodes) > 1 else ''}"
    most = fit(1)
    if most < (jobs or 1):
        each = f", {gpus} GPU{'s' if gpus > 1 else ''} a run" if gpus else ""
        cure = f"--jobs {most} at most" if most else "fewer --gpus-per-run"
        raise GanealogyError(f"--jobs {jobs or 1}: there are {has}{each}: {cure}")
    given = next(count for count in range(threads, 0, -1) if count == 1 or fit(count) >= (jobs or 1))
    return Room(jobs or fit(given), given, gpus)


def agree(ray: Any, describe: Any) -> None:
    """Every node computes with this driver's Python and torch: others give other numbers.

    `describe`: what to ask of a node (`errand.describe`). Raises: GanealogyError naming the node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    wanted = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "dvc")},
    }
    ask = ray.remote(num_cpus=0, max_retries=0)(describe)
    asked = {
        node["NodeManagerAddress"] + " " + node["NodeID"][:8]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0)
    }
    _, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_S)
    for place, answer in asked.items():
        if answer in late:
            continue  # its workers are slow to start: the run itself will say what is wrong
        found = ray.get(answer)
        if found.get("problem"):
            raise GanealogyError(f"node {found['node']} ({place}): {found['problem']}")
        for name, version in wanted.items():
            if found[name] != version:
                raise GanealogyError(
                    f"node {found['node']} ({place}) has {name} {found[name]}, this machine {version}: "
                    "install the same environment on both"
                )
