"""Profile a step on a GPU: idle time, and the share of kernel time that is the network's.

torch's profiler records every kernel with the operation that launched it. On a CPU the operations take the place of
kernels, so that the code can be tested without a GPU.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from measuring.device import wait

NETWORK = (
    *("*conv*", "linear", "mm", "addmm", "bmm", "baddbmm", "mv", "addmv"),  # convolutions and matrix products
    *("*batch_norm*", "relu*", "clamp_min*", "threshold_backward", "leaky_relu*", "tanh*", "*softmax*"),
    *("avg_pool2d*", "upsample*", "*dropout*"),
)
"""torch operations whose kernels are the network's, as `fnmatch` patterns: convolutions (also doubly differentiated),
matrix products (also spectral norm's), norms, activations, pooling, upsampling. Not included: residual sums, separate
biases, casts, losses, optimizers, augmentations, data."""
LAYOUT = ("*nchwToNhwc*", "*nhwcToNchw*")
"""Kernels that change the memory layout inside such an operation: not the network's."""
COPIES = ("Memcpy", "Memset")
READ = "aten::_local_scalar_dense"
"""The operation behind `.item()`, `bool(tensor)` and `float(tensor)`: the host waits for a value."""
PYTHON_READS = ("aten::item", "aten::is_nonzero")
"""Parents of reads by Python. Fused Adam on a CPU also reads step counts, inside its own operation."""
SYNCHRONISED = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class Profile:
    """Times of one step in milliseconds."""

    busy: float
    """Time in which at least one kernel runs."""
    work: float
    """Sum over kernels and copies."""
    network: float
    """Sum over the network's kernels."""
    reads: float
    """Values read by Python per step."""
    others: list[tuple[str, float]]
    """The three largest other operations."""


def is_network(operation: str, kernel: str = "") -> bool:
    """Return whether a kernel launched by torch's `operation` (without `aten::`) is the network's."""
    own = any(fnmatchcase(operation, pattern) for pattern in NETWORK)
    return own and not any(fnmatchcase(kernel, pattern) for pattern in (*LAYOUT, *(f"{copy}*" for copy in COPIES)))


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the total length covered by intervals (start, end)."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def is_asked(event: FunctionEvent) -> bool:
    """Return whether Python read the value, not another operation."""
    above = event.cpu_parent
    while above is not None and above.name in PYTHON_READS:
        above = above.cpu_parent
    return above is None or not above.name.startswith("aten::")


def profiled(step: Callable[[], object], steps: int, device: str) -> Profile:
    """Run `steps` steps under torch's profiler. It slows the host but not the kernels."""
    on_card = device != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=activities, acc_events=True) as recorded:  # the default warns in torch 2.11
        for _ in range(steps):
            step()
        wait(device)
    events = list(recorded.events())
    operations = [event for event in events if event.device_type == DeviceType.CPU]
    if on_card:
        kernels = [event for event in events if event.device_type == DeviceType.CUDA]
        # (operation, kernel, µs); a kernel without a known operation counts in `work` only.
        launched = [(event.name, kernel.name, kernel.duration) for event in operations for kernel in event.kernels]
        work = sum(event.time_range.elapsed_us() for event in kernels)
        running = [event for event in kernels if not event.name.startswith(COPIES)]
    else:
        running = [event for event in operations if event.name.startswith("aten::")]
        launched = [(event.name, "", event.self_cpu_time_total) for event in running]
        work = sum(taken for _, _, taken in launched)
    network, others = 0.0, Counter[str]()
    for operation, kernel, taken in launched:
        name = operation.removeprefix("aten::")
        if is_network(name, kernel):
            network += taken
        else:
            others[name] += taken
    a_step = 1 / (1000 * steps)
    return Profile(
        busy=union((event.time_range.start, event.time_range.end) for event in running) * a_step,
        work=work * a_step,
        network=network * a_step,
        reads=sum(event.name == READ and is_asked(event) for event in operations) / steps,
        others=[(name, taken * a_step) for name, taken in others.most_common(3)],
    )


def waits(step: Callable[[], object], steps: int) -> Counter[str]:
    """Count host waits for the GPU in `steps` steps per source line, by torch's sync debug mode."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(steps):
                step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return Counter(
        f"{Path(warning.filename).name}:{warning.lineno}" for warning in caught if SYNCHRONISED in str(warning.message)
    )
