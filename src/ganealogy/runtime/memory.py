"""Allocator and garbage-collector settings, which change no result, and a limit."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
COLLECT_EVERY = 100_000
"""New objects between two collections; Python's default is 700 to 2,000."""


def collect_rarely() -> None:
    """Collect reference cycles less often.

    Importing torch creates 200,000 objects that stay, and Python would traverse them 400 times: 1/7 of the import time.
    """
    gc.set_threshold(COLLECT_EVERY)


def keep_freed() -> None:
    """Let glibc keep freed memory for the next tensor or picture instead of returning it to the system.

    Returned memory costs a page fault per page when it is used again: half the time of EfficientNet's pass on a CPU,
    and 1/5 of decoding a JPEG. Does nothing with other C libraries.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def peak() -> int:
    """Return the largest resident memory of this process so far, in bytes; its present one if no peak is known."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil  # type: ignore[import-untyped]

        usage = psutil.Process().memory_info()
        return int(getattr(usage, "peak_wset", usage.rss))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def limit(size: int) -> None:
    """Let this process take `size` bytes more; an allocation above fails with MemoryError.

    Does nothing where the system lacks such limits or the process's own size is not known: only Linux has both.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[0])
        _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        total = pages * resource.getpagesize() + size
        resource.setrlimit(resource.RLIMIT_AS, (total if hard == resource.RLIM_INFINITY else min(total, hard), hard))
