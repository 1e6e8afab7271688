"""What a process does with memory that it has freed, and how often it looks for some."""

from __future__ import annotations

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
COLLECT_EVERY = 100_000
"""New objects; Python's own 700 to 2,000 is for programs that make few."""


def collect_rarely() -> None:
    """Look for unreachable cycles less often. Importing torch makes 200,000 objects that stay, and Python would look
    through them over and over: 400 times, a seventh of the import."""
    gc.set_threshold(COLLECT_EVERY)


def keep_freed() -> None:
    """On glibc, keep it for the next tensor or picture. Returned to the system, it comes back as zeroed pages, one page
    fault each: half the time of EfficientNet's pass on a CPU, and a fifth of a JPEG's way into the packed array.
    Changes no result. Where it cannot be set, nothing is.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
