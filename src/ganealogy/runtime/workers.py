"""Run jobs side by side in worker processes that share one import of torch.

The workers are forked from multiprocessing's fork server, which imports the libraries once (measured: a worker is ready
in 0.025 s instead of 1.3 s). The modules of this package are imported in each worker, so that fingerprints are checked
against what it loaded. Each job has a process and a pipe of its own: a killed one takes nothing with it, as a pool with
a shared queue would. The number of jobs at a time changes no result.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import util
from pathlib import Path
from typing import Any, Protocol

from ganealogy.errors import GanealogyError, one_line, printable
from ganealogy.runtime import process, streams

GUARD = "ganealogy.runtime.fork_server_guard"
LIBRARIES = (
    "numpy",
    "torch",
    "torch.nn.functional",
    "scipy.linalg",
    "safetensors.torch",
    "PIL.Image",
    "PIL.ImageDraw",
    "PIL.PngImagePlugin",
    "PIL.WebPImagePlugin",
    "filelock",
    "pydantic",
    "ruamel.yaml",
    "tqdm",
    "yaml",
    "efficientnet_lite_pytorch",
)
"""Libraries only, and none that computes when it is imported: a worker with two threads would hang after the fork."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
POLL_S = 0.2
REMIND_S = 1.0
"""Between two SIGTERMs to a worker that is to stop: one that is just starting ignores the first."""
START_ATTEMPTS = 10
LONGEST_TEMPORARY = 107 - len("/pymp-12345678/listener-12345678")
"""Bytes in the path of a temporary directory that leave room for a socket's: Linux allows 107 in all."""
LAST_LINES = 30
"""Lines of a failed job's log that the error shows."""

CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")

SendProgress = Callable[..., None]
"""`send_progress(stage=…, …)`: send a worker's progress to the process that started it."""


class Job(Protocol):
    @property
    def name(self) -> str: ...


Work = Callable[[Any, SendProgress], Any]
"""What a worker does with a job; its result must be picklable."""


@dataclass(frozen=True)
class Ended:
    """How a job ended: done, stopped (by a signal), error (to be fixed by the user), bug or killed."""

    how: str
    value: Any = None
    """The result of a job that is done."""
    reason: str = ""
    """One line, of a job that failed."""

    @property
    def failed(self) -> bool:
        return self.how in ("error", "bug", "killed")


class Watcher:
    """Methods that `run` calls while the jobs run. These show nothing."""

    def on_start(self, name: str) -> None: ...
    def on_progress(self, name: str, progress: Mapping[str, Any]) -> None: ...
    def on_line(self, name: str, line: str) -> None: ...
    def on_end(self, name: str, ended: Ended) -> None: ...
    def draw(self) -> None: ...


@dataclass
class Worker:
    job: Any
    slot: int
    process: Any
    pipe: Any
    ended: Ended | None = None


def run(
    work: Work,
    jobs: Sequence[Job],
    slots: Sequence[Mapping[str, str]],
    watcher: Watcher,
    logs: Path,
    interruption: process.Interruption,
    threads: int = 1,
) -> dict[str, Ended]:
    """Call `work(job, send_progress)` for each job, in order, as many at a time as there are slots.

    Returns how each ended, without the jobs that had not begun when the interruption came. `slots`: environment
    variables of each place, such as the GPU to use. `logs`: folder for the output of each job, <name>.log.
    Call it in the main thread: the fork server dies with the thread that started it.
    """
    for name in THREADS:  # read when the libraries are loaded, in the server
        os.environ[name] = str(threads)
    if sys.platform == "linux":
        _make_socket_folder()
        CONTEXT.set_forkserver_preload([GUARD, *LIBRARIES])
    logs.mkdir(parents=True, exist_ok=True)
    waiting = deque(jobs)
    running: dict[Any, Worker] = {}
    ended: dict[str, Ended] = {}
    free = list(range(len(slots)))[::-1]
    reminded = 0.0
    try:
        while running or (waiting and not interruption):
            while waiting and free and not interruption:
                job, slot = waiting.popleft(), free.pop()
                worker = _start(work, job, slot, slots[slot], logs / f"{job.name}.log")
                running[worker.pipe] = worker
                watcher.on_start(job.name)
            for pipe in connections.wait(list(running), POLL_S):
                worker = running[pipe]
                if not _receive(worker, watcher):
                    del running[pipe]
                    free.append(worker.slot)
                    ended[worker.job.name] = _end(worker, logs)
                    watcher.on_end(worker.job.name, ended[worker.job.name])
            if interruption and (now := time.monotonic()) - reminded >= REMIND_S:
                for worker in running.values():
                    worker.process.terminate()
                reminded = now
            watcher.draw()
    finally:
        for worker in running.values():  # after a second Ctrl-C
            worker.process.kill()
            worker.process.join()
    return ended


def _make_socket_folder() -> None:
    """Make the folder of multiprocessing's sockets in /tmp if the path of the temporary directory is too long.

    Python 3.14 does so itself.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_TEMPORARY:
        return
    before, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        util.get_temp_dir()  # remembered, and removed at the end
    finally:
        tempfile.tempdir = before


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """Return the end of a job's log."""
    try:
        return log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def _start(work: Work, job: Job, slot: int, environment: Mapping[str, str], log: Path) -> Worker:
    here, there = CONTEXT.Pipe(duplex=False)
    target = (work, job, there, str(log), dict(os.environ) | dict(environment))
    for attempt in range(START_ATTEMPTS):
        worker = CONTEXT.Process(target=_inside, args=target, name=job.name, daemon=True)
        try:
            worker.start()
            break
        except (EOFError, OSError):
            # A library that cannot be imported ends the server: each worker then imports its own.
            if attempt == START_ATTEMPTS - 1:
                raise
            CONTEXT.set_forkserver_preload([GUARD])
            time.sleep(POLL_S)  # until the dead server is noticed
    there.close()
    return Worker(job, slot, worker, here)


def _receive(worker: Worker, watcher: Watcher) -> bool:
    """Pass on one message. Return False when there are no more."""
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, OSError):
        return False
    except Exception as error:  # a message that cannot be unpickled
        worker.ended = Ended("bug", reason=f"its result cannot be read ({one_line(error)})")
        return True
    if kind == "progress":
        watcher.on_progress(worker.job.name, content)
    elif kind == "line":
        watcher.on_line(worker.job.name, content)
    else:
        worker.ended = content
    return True


def _end(worker: Worker, logs: Path) -> Ended:
    worker.pipe.close()
    worker.process.join()
    code = worker.process.exitcode
    if worker.ended is not None:
        return worker.ended
    if code is not None and code < 0:
        hint = "; was the memory full?" if -code == getattr(signal, "SIGKILL", None) else ""
        return Ended("killed", reason=f"its process was killed by {signal.Signals(-code).name}{hint}")
    lines = [line for line in last_lines(logs / f"{worker.job.name}.log") if line.strip()]
    return Ended("killed", reason=f"its process ended with {code}: {lines[-1] if lines else 'it printed nothing'}")


def _inside(work: Work, job: Job, pipe: Any, log: str, environment: dict[str, str]) -> None:
    """The main function of a worker."""
    process.raise_on_stop()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process.die_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    sender = _Sender(pipe)

    def logged() -> Any:
        _redirect(log, sender)
        return work(job, lambda **progress: sender.send("progress", progress))

    sender.send("ended", attempt(logged))
    pipe.close()


def attempt(work: Callable[[], Any]) -> Ended:
    """Call `work` and return how it ended. The traceback of a bug is printed."""
    try:
        return Ended("done", work())
    except (GanealogyError, OSError) as error:
        return Ended("error", reason=process.message(error))
    except (KeyboardInterrupt, process.Terminated):
        return Ended("stopped")
    except Exception as error:
        traceback.print_exc()
        return Ended("bug", reason=f"{type(error).__name__}: {one_line(error)}")


class _Sender:
    """The worker's end of the pipe, for all its threads. A stage that is gone is no error: SIGTERM comes, too."""

    def __init__(self, pipe: Any) -> None:
        self.pipe, self.lock = pipe, threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        with self.lock, contextlib.suppress(OSError):
            self.pipe.send((kind, content))


def _redirect(log: str, sender: _Sender) -> None:
    """Send both output streams to the log; lines that begin with `ganealogy: ` or `warning: ` also reach the user."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    sys.stdout, sys.stderr = _Log(1, "utf-8"), _Lines(2, sender)


class _Log(streams.Shown):
    """A stream to a log, which contains no control characters."""

    def write(self, text: str) -> int:
        return super().write(printable(text))


class _Lines(_Log):
    """A stream that also sends the user's lines through the pipe."""

    def __init__(self, descriptor: int, sender: _Sender) -> None:
        super().__init__(descriptor, "utf-8")
        self.sender, self.line = sender, ""

    def write(self, text: str) -> int:
        text = printable(text)
        written = super().write(text)
        self.line += text
        *complete, self.line = self.line.split("\n")
        for line in complete:
            if line.startswith(streams.USERS_LINES):
                self.sender.send("line", line)
        return written
