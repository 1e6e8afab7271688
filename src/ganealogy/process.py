"""A stage as a process: it dies with DVC, stops when asked, and never runs twice on the same work."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ganealogy.errors import GanealogyError

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def root() -> Path:
    """Where work outlives a stage: the main workspace, also from the copy that `dvc exp run --temp` works in."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def die_with_parent() -> None:
    """On Linux, have SIGTERM sent when DVC is killed: it leaves its children running, and starts them a second time."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)


def keep_memory() -> None:
    """On glibc, keep freed memory for the next tensor. Returned to the system, it comes back as zeroed pages, one page
    fault each: half the time of EfficientNet's pass on a CPU. Changes no result. Where it cannot be set, nothing is.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Interruption:
    """SIGTERM and Ctrl-C as a question to ask between steps; `exit_code` is then 143 or 130, as shells have it."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the step
        self.signal = number

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


@contextmanager
def only_one(directory: Path, what: str) -> Iterator[None]:
    """Hold `directory`/lock. Raises: GanealogyError naming the process that holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    holder = directory / "holder"
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text().strip() if holder.exists() else "unknown"
        raise GanealogyError(
            f"{what} is being trained by process {pid}; wait for it, or stop it (kill {pid})"
        ) from None
    try:
        holder.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


def threads(setting: int) -> int:
    """GANEALOGY_THREADS where runs share a machine, else the setting.

    Raises: GanealogyError when it is not a count.
    """
    given = os.environ.get("GANEALOGY_THREADS")
    if given is None:
        return setting
    if not given.isdigit() or int(given) < 1:
        raise GanealogyError(f"environment: GANEALOGY_THREADS = {given!r}: a count of threads, at least 1")
    return int(given)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}; nothing was left half-written: cure it and start again"
    return str(error)


def report_errors(work: Callable[[], None], debug: bool) -> int:
    """Run; one line and exit code 2 for a fault that a person can cure, 130 for Ctrl-C; others keep their traceback."""
    try:
        work()
    except (GanealogyError, OSError) as error:
        if debug:
            raise
        print(f"ganealogy: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ganealogy: stopped", file=sys.stderr)
        return 130
    return 0
