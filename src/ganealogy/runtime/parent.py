"""The kernel's signal on the death of a parent, which only Linux has; elsewhere a killed parent's children go on."""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def signal_on_death(number: signal.Signals) -> bool:
    """Get a signal when the parent process ends. Return False if it has ended before this took effect."""
    if sys.platform != "linux":
        return True
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent
