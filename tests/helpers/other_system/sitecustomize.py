"""On the PYTHONPATH, show the package a system like Windows: without Unix's modules, functions and signals.

Only modules of ganealogy see it; Python's, torch's and DVC's need the real system. Seen are the names that the package
looks up, so a use of a missing one is an AttributeError or ImportError, as there.
"""

import builtins
import os
import signal
import sys
from types import ModuleType

ABSENT = {"fcntl", "resource", "pwd", "grp", "termios"}
HIDDEN = {
    "os": "fchmod fchown fork getpgid getuid killpg mkfifo nice posix_fallocate pread preadv setsid "
    "sched_getaffinity statvfs uname",
    "signal": "SIGALRM SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 alarm pthread_sigmask setitimer",
}


class Elsewhere(ModuleType):
    """A module without some of its names."""

    def __init__(self, real: ModuleType, hidden: str = "", **replaced: object) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _hidden=set(hidden.split()), _replaced=replaced)

    def __getattr__(self, name: str) -> object:
        if name in self._hidden:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return self._replaced.get(name) or getattr(self._real, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._real, name, value)


SHOWN = {
    "os": Elsewhere(os, HIDDEN["os"]),
    "signal": Elsewhere(signal, HIDDEN["signal"]),
    "sys": Elsewhere(sys, platform="win32"),
}
real_import = builtins.__import__


def import_elsewhere(name, globals=None, locals=None, fromlist=(), level=0):  # type: ignore[no-untyped-def]
    if level == 0 and str((globals or {}).get("__name__")).startswith("ganealogy"):
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} on this system", name=name)
        if name in SHOWN:
            return SHOWN[name]
    return real_import(name, globals, locals, fromlist, level)


builtins.__import__ = import_elsewhere
