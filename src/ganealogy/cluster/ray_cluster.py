"""Connect to a running Ray cluster, check its nodes, and fit the jobs to its resources.

Ray is an optional extra, so it is imported only by `ray_module`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError

CONNECT_TIMEOUT_S = 5.0
DESCRIBE_TIMEOUT_S = 12.0
AUTH_MODE = "RAY_AUTH_MODE"
"""`ray start` uses a token where it finds one. A driver that has an address uses it only where this is `token`."""
RAY_UNITS = 10_000
"""Ray counts resources in these parts of one."""


@dataclass(frozen=True)
class Allocation:
    """Number of jobs at a time, and the resources of each."""

    jobs: int
    threads: int
    """Per job."""
    gpus: float
    """Per job: a number, or a fraction of one."""


def ray_module() -> Any:
    """Import and return Ray.

    Raises: GanealogyError when the extra is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's future default: without it Ray prints a warning.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise GanealogyError("--address needs Ray: pip install 'ganealogy[cluster]'") from None
    return ray


@contextmanager
def connected(address: str, dashboard: bool = True) -> Iterator[Any]:
    """Yield Ray, connected to `address` ("auto": this machine's running cluster). `dashboard`: print its address.

    Raises: GanealogyError when no cluster answers at `address`, or when it refuses the connection.
    """
    ray = ray_module()
    _check_own(address)
    _check_reachable(address)
    try:
        context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        refused = isinstance(error, ConnectionError) and AUTH_MODE not in os.environ
        hint = f"; if the cluster was started with a token, set {AUTH_MODE}=token" if refused else ""
        raise GanealogyError(f"--address {address}: {' '.join(str(error).split())[:300]}{hint}") from None
    try:
        if dashboard and context.dashboard_url:
            print(f"dashboard  http://{context.dashboard_url}", flush=True)
        yield ray
    finally:
        ray.shutdown()


def _check_own(address: str) -> None:
    """Check who wrote the file that `auto` follows: it lies where every user may write, and a cluster runs code.

    Raises: GanealogyError when it is another user.
    """
    if address != "auto" or "RAY_ADDRESS" in os.environ or not hasattr(os, "getuid"):
        return
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    file = Path(temporary, "ray", "ray_current_cluster")
    if os.path.lexists(file) and (owner := file.lstat().st_uid) != os.getuid():
        raise GanealogyError(
            f"--address auto: {file} was written by another user ({owner}), so the cluster is not yours; "
            "if you trust it, give its address, HOST:PORT"
        )


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


def cluster_resources(ray: Any) -> list[dict[str, float]]:
    """Return the resources of each live node, such as {"CPU": 8, "GPU": 1}."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def allocate(
    nodes: list[dict[str, float]], jobs: int | None, threads: int, gpus_per_run: int | None, runs_per_gpu: int = 1
) -> Allocation:
    """Fit jobs to the nodes' resources.

    `jobs`: None takes as many as fit. `threads`: the protocol's; reduced if `jobs` runs do not fit otherwise.
    `gpus_per_run`: None shares each GPU, if there are any, between `runs_per_gpu` runs.

    Raises: GanealogyError when `jobs` runs do not fit with one thread each.
    """
    total_cpus, total_gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    units = RAY_UNITS // runs_per_gpu if gpus_per_run is None else RAY_UNITS * gpus_per_run
    gpus = units / RAY_UNITS if total_gpus or gpus_per_run else 0

    def capacity(threads: int) -> int:
        gpu_limits = [RAY_UNITS * node.get("GPU", 0) // units if gpus else float("inf") for node in nodes]
        return int(
            sum(min(node.get("CPU", 0) // threads, limit) for node, limit in zip(nodes, gpu_limits, strict=True))
        )

    most = capacity(1)
    if most < (jobs or 1):
        resources = f"{total_cpus:g} CPUs and {total_gpus:g} GPUs on {len(nodes)} node{'s' if len(nodes) > 1 else ''}"
        per_run = f", {gpus:.2g} GPU{'s' if gpus > 1 else ''} per run" if gpus else ""
        hint = f"--jobs {most} at most" if most else "fewer --gpus-per-run"
        raise GanealogyError(f"--jobs {jobs or 1}: there are {resources}{per_run}: {hint}")
    fitting = next(count for count in range(threads, 0, -1) if count == 1 or capacity(count) >= (jobs or 1))
    return Allocation(jobs or capacity(fitting), fitting, gpus)


def check_nodes(ray: Any, describe: Callable[[str], dict[str, str]], root: Path) -> bool:
    """Check that every node has this machine's versions of Python and torch: others compute other numbers.

    `describe`: the function that each node calls, `node_task.describe`. Return whether every node sees the files of
    `root`, under the same path.

    Raises: GanealogyError naming the node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    expected = {"python": platform.python_version(), "torch": importlib.metadata.version("torch")}
    task = ray.remote(num_cpus=0, max_retries=0)(describe)
    with tempfile.NamedTemporaryFile(dir=root / ".dvc", prefix=".ganealogy-") as marker:
        references = {
            node["NodeManagerAddress"] + " " + node["NodeID"][:8]: task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(marker.name)
            for node in ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0)
        }
        _, late = ray.wait(list(references.values()), num_returns=len(references), timeout=DESCRIBE_TIMEOUT_S)
    sees = not late
    for address, reference in references.items():
        if reference in late:
            continue  # its workers start slowly; the run itself will report an error
        found = ray.get(reference)
        if found.get("problem"):
            raise GanealogyError(f"node {found['node']} ({address}): {found['problem']}")
        for name, version in expected.items():
            if found[name] != version:
                raise GanealogyError(
                    f"node {found['node']} ({address}) has {name} {found[name]}, this machine {version}: "
                    "install the same environment on both"
                )
        sees = sees and bool(found["sees"])
    return sees
