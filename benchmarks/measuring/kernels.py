"""Where a step's time goes on a card: how long it rests, and how much of its work is the network's own.

torch's profiler sees every kernel with the operation that launched it. On a CPU the operations themselves stand for
kernels: the same code, so that it can be tried without a card.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from measuring.device import wait

NETWORK = (
    *("*conv*", "linear", "mm", "addmm", "bmm", "baddbmm", "mv", "addmv"),  # convolutions and matrix products
    *("*batch_norm*", "relu*", "clamp_min*", "threshold_backward", "leaky_relu*", "tanh*", "*softmax*"),
    *("avg_pool2d*", "upsample*", "*dropout*"),
)
"""torch's operations whose kernels are the network's own, as `fnmatch` patterns: convolutions (doubly differentiated
ones too), matrix products (spectral norm's too), norms, activations, pooling, doubling. A residual's sum, a bias on its
own, casts, losses, optimizers, augmentations and the data are not among them."""
LAYOUT = ("*nchwToNhwc*", "*nhwcToNchw*")
"""Kernels that turn a map's layout inside of such an operation: not the network's."""
COPIES = ("Memcpy", "Memset")
READ = "aten::_local_scalar_dense"
"""What `.item()`, `bool(tensor)` and `float(tensor)` come to: the host reads a number and waits for it."""
ASKED = ("aten::item", "aten::is_nonzero")
"""Where Python's own reads are found; a processor's fused Adam reads step counts inside of its operation."""
SYNCHRONISED = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class Profile:
    """Of one step; milliseconds."""

    busy: float
    """The card runs a kernel: overlapping ones count once."""
    work: float
    """Kernels and copies, added up."""
    network: float
    """Those that are the network's own."""
    reads: float
    """Numbers that Python read."""
    others: list[tuple[str, float]]
    """The operations that took most of the rest."""


def is_network(operation: str, kernel: str = "") -> bool:
    """Whether a kernel that torch's `operation` (without `aten::`) launched is the network's own."""
    own = any(fnmatchcase(operation, pattern) for pattern in NETWORK)
    return own and not any(fnmatchcase(kernel, pattern) for pattern in (*LAYOUT, *(f"{copy}*" for copy in COPIES)))


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """The length that intervals (start, end) cover together."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def is_asked(event: FunctionEvent) -> bool:
    """Whether Python asked for the number, and not an operation on its own behalf."""
    above = event.cpu_parent
    while above is not None and above.name in ASKED:
        above = above.cpu_parent
    return above is None or not above.name.startswith("aten::")


def profiled(step: Callable[[], object], steps: int, device: str) -> Profile:
    """`steps` steps under torch's profiler. It slows the host, not the kernels: compare with a clock without it."""
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
        # (operation, kernel, µs): a kernel that nobody is known to have launched is in `work` alone.
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
    """How often the host waited for the card in `steps` steps, by place, as torch's sync debug mode sees it."""
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
