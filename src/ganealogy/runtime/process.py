"""A stage as a process: it dies with DVC, stops when asked, and never runs twice on the same work."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic

PR_SET_PDEATHSIG = 1

OK, UNFORESEEN, CURABLE, INTERRUPTED, KILLED, TERMINATED = 0, 1, 2, 130, 137, 143
"""Exit codes; the last three are 128 + the signal's number, as shells have it."""


LONGEST = 1000
"""Letters of an error, which may quote what it found in a file."""


class Terminated(BaseException):
    """SIGTERM, as an exception: what is being written is cleaned up on the way out."""


def _terminate(_number: int, _frame: object) -> None:
    raise Terminated


def raise_on_sigterm() -> None:
    """Python dies of SIGTERM on the spot, and its temporary files stay; from here on it unwinds first."""
    signal.signal(signal.SIGTERM, _terminate)


def die_with_parent() -> None:
    """On Linux, have SIGTERM sent when DVC is killed: it leaves its children running, and starts them a second time."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)


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
def exclusive_lock(directory: Path, what: str) -> Iterator[None]:
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
        atomic.write_text(holder, f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


def torchrun(ranks: int, verb: list[str], threads: int) -> int:
    """`python -m ganealogy VERB` as so many ranks, which share the threads; the exit code is 143 or 130 when told to
    stop (they have written a checkpoint then)."""
    die_with_parent()
    interruption = Interruption()
    engine = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    each = str(max(1, threads // ranks))
    own = {"OMP_NUM_THREADS": each, "GANEALOGY_THREADS": each, "GANEALOGY_RANKS": "1"}
    with subprocess.Popen(
        [sys.executable, *engine, "-m", "ganealogy", *verb],
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C comes to us, and goes on once
    ) as ranks_process:
        told = False
        while ranks_process.poll() is None:
            if interruption and not told:
                ranks_process.terminate()
                told = True
            time.sleep(0.1)
    return interruption.exit_code if interruption else min(ranks_process.returncode, 1)


def is_first_rank() -> bool:
    """Whether this process writes what all ranks compute, also before they have met; torchrun says so by RANK."""
    return os.environ.get("RANK", "0") == "0"


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


@contextmanager
def explain_full_disk(*places: Path | str) -> Iterator[None]:
    """A full disk says which directory it was about: the system names no file when a write fails.

    Raises: GanealogyError for an OSError without a file name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or isinstance(error, (ConnectionError, TimeoutError)):
            raise
        where = ", ".join(map(str, places))
        raise GanealogyError(f"{where}: {error.strerror or error}; make room or mend it, and run again") from error


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or "a file"
        return f"{place}: {error.strerror}; nothing was left half-written: cure it and run again"
    return str(error)


def single_printable_line(text: str) -> str:
    """One line, not without end, without control characters: other people's names must not move the cursor."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def report_errors(work: Callable[[], None], debug: bool) -> int:
    """Run; returns the exit code: one line and 2 for a fault that a person can cure, 130 for Ctrl-C, 143 for SIGTERM.

    `debug` puts the traceback before the line. Other errors are faults in Ganealogy: they pass, and Python ends with 1.
    """
    try:
        work()
    except (GanealogyError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"ganealogy: {single_printable_line(_one_line(error))}", file=sys.stderr)
        return CURABLE
    except KeyboardInterrupt:
        print("ganealogy: stopped", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print("ganealogy: stopped", file=sys.stderr)
        return TERMINATED
    return OK
