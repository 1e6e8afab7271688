"""Processes of stages: end with DVC, stop on signals, run once per work folder, report errors on one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ganealogy.errors import GanealogyError, printable
from ganealogy.files import atomic
from ganealogy.runtime import parent

OK, UNEXPECTED, FIXABLE, HUNG_UP, INTERRUPTED, TERMINATED = 0, 1, 2, 129, 130, 143
"""Exit codes; the last three are 128 + the signal's number, as shells have it."""
STOPPED = (HUNG_UP, INTERRUPTED, TERMINATED)


LONGEST = 1000
"""Characters of an error message, which may quote a file."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP as an exception, so that temporary files are cleaned up."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


def _terminate(number: int, _frame: object) -> None:
    raise Terminated(number)


def stop_signals() -> list[signal.Signals]:
    """Return SIGTERM, and SIGHUP, of a closed terminal, where the system has it and `nohup` does not ignore it."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    heard = hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN
    return [signal.SIGTERM, hangup] if hangup is not None and heard else [signal.SIGTERM]


def default_signals() -> None:
    """Undo an `Interruption`: Ctrl-C, SIGTERM and SIGHUP raise again."""
    raise_on_stop()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_on_stop() -> None:
    """Raise Terminated on `stop_signals`; by default Python exits at once and leaves its temporary files."""
    for number in stop_signals():
        signal.signal(number, _terminate)


def die_with_parent() -> None:
    """On Linux, get SIGTERM when the parent is killed: a killed DVC leaves its stages running."""
    if not parent.signal_on_death(signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)


class Interruption:
    """True after SIGTERM, SIGHUP or Ctrl-C, for checks between steps; `exit_code` is then 143, 129 or 130."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (*stop_signals(), signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # pressed twice: do not wait for the step
        self.signal = number

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


@contextmanager
def exclusive_lock(directory: Path, what: str | None = None) -> Iterator[None]:
    """Hold `directory`/lock. None waits for another holder.

    Raises: GanealogyError with the holder's process id, if `what` names the work for the message.
    """
    directory.mkdir(parents=True, exist_ok=True)
    holder = directory / "holder"
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=-1 if what is None else 0)
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


def remove_unless_held(directory: Path) -> bool:
    """Remove a folder whose lock no process holds. Return whether it is gone."""
    if directory.is_dir():
        lock = FileLock(directory / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        shutil.rmtree(directory)
        lock.release()
    return True


def torchrun(ranks: int, verb: list[str], threads: int) -> int:
    """Run `python -m ganealogy VERB` as `ranks` processes that share the threads. Return the exit code.

    It is one of STOPPED after a signal; the ranks have then saved a checkpoint.
    """
    die_with_parent()
    interruption = Interruption()
    engine = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    each = str(max(1, threads // ranks))
    environment = {"OMP_NUM_THREADS": each, "GANEALOGY_THREADS": each, "GANEALOGY_RANKS": "1"}
    with subprocess.Popen(
        [sys.executable, *engine, "-m", "ganealogy", *verb],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C reaches this process only, which passes it on once
    ) as ranks_process:
        stopping = False
        while ranks_process.poll() is None:
            if interruption and not stopping:
                ranks_process.terminate()
                stopping = True
            time.sleep(0.1)
    return interruption.exit_code if interruption else min(ranks_process.returncode, 1)


def is_first_rank() -> bool:
    """Return whether this process writes the files, also before the process group exists (torchrun sets RANK)."""
    return os.environ.get("RANK", "0") == "0"


def threads(setting: int) -> int:
    """Return GANEALOGY_THREADS if set, else the setting.

    Raises: GanealogyError when it is not a positive integer.
    """
    given = os.environ.get("GANEALOGY_THREADS")
    if given is None:
        return setting
    if not given.isdecimal() or int(given) < 1:
        raise GanealogyError(f"environment: GANEALOGY_THREADS = {given!r}: set it to a number of threads, at least 1")
    return int(given)


@contextmanager
def explain_full_disk(*places: Path | str) -> Iterator[None]:
    """Name the target directories when a write fails, because OSError does not.

    Raises: GanealogyError for an OSError without a file name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or isinstance(error, (ConnectionError, TimeoutError)):
            raise
        where = ", ".join(map(str, places))
        raise GanealogyError(
            f"{where}: {error.strerror or error}; free space or check permissions, and run again"
        ) from error


def message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = error.filename or "a file"
        return f"{place}: {error.strerror}; no half-written file is left; fix it and run again"
    return str(error)


def single_printable_line(text: str) -> str:
    """Return the text as one line of limited length without control characters, which could move the cursor."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
    return printable(line)


def warn(text: str) -> None:
    """Print a line for the user on standard error."""
    print(f"ganealogy: {single_printable_line(text)}", file=sys.stderr, flush=True)


def report_errors(work: Callable[[], None], debug: bool) -> int:
    """Run `work`. Return the exit code: 0, 2 with one line for an error to fix, or one of STOPPED.

    `debug` prints the traceback before the line. Other errors are bugs: they propagate, and Python exits with 1.
    """
    try:
        work()
    except (GanealogyError, OSError) as error:
        if debug:
            traceback.print_exc()
        warn(message(error))
        return FIXABLE
    except KeyboardInterrupt:
        print("ganealogy: stopped", file=sys.stderr)
        return INTERRUPTED
    except Terminated as stop:
        print("ganealogy: stopped", file=sys.stderr)
        return 128 + stop.number
    return OK
