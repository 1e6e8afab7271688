"""What this machine offers: cores, memory and GPUs, within the limits of its container. No torch, no CUDA."""

from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
TIMEOUT_S = 20


def cores() -> int:
    """Return the cores that this process may use: its affinity, and the container's share of processor time."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text(CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        available = min(available, math.ceil(int(quota) / int(period)))
    return max(1, available)


def free_memory() -> int:
    """Return the bytes of memory that new processes can use."""
    import psutil  # type: ignore[import-untyped]

    free = int(psutil.virtual_memory().available)
    limit, used = (_text(CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        free = min(free, int(limit) - int(used))
    return max(0, free)


def gpus() -> list[str]:
    """Return the NVIDIA GPUs that torch would see, as values for CUDA_VISIBLE_DEVICES.

    nvidia-smi counts them: a process that asks CUDA cannot fork workers that use it.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [card for card in visible.split(",") if card.strip() and not card.startswith("-")]
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
