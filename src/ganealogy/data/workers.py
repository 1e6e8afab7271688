"""Map a function over items with several processes, in order and with few items in flight."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from ganealogy.errors import GanealogyError
from ganealogy.runtime import memory, process

Item = TypeVar("Item")
Result = TypeVar("Result")
OUT_OF_TIME, OUT_OF_MEMORY = 1, 3
"""Exit codes of a process; the first one is faulthandler's."""


@dataclass(frozen=True)
class Limits(Generic[Item, Result]):
    """What an item may take. The process of one that takes more ends, and its parts are tried one at a time."""

    seconds: float
    """By the clock. A part is given up after the second time, so that a pause of the machine costs none."""
    bytes: int
    """Memory beside that of a new process, where the system can limit it."""
    split: Callable[[Item], list[Item]]
    join: Callable[[list[Result]], Result]
    give_up: Callable[[Item, str], Result]
    """Return the result of a part that takes more even alone, for the reason given."""


class _Killed(Exception):  # noqa: N818
    """The process ended without a result. `code`: its exit code; below 0, the number of a signal."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


def count() -> int:
    """Return the number of worker processes: one per core, or GANEALOGY_THREADS if that is smaller.

    Raises: GanealogyError if GANEALOGY_THREADS is not a count.
    """
    cores = os.cpu_count() or 1
    return min(cores, process.threads(cores))


def parallel_map(
    function: Callable[[Any, Item], Result],
    items: Iterable[Item],
    make_context: Callable[..., Any],
    arguments: tuple[Any, ...],
    processes: int,
    limits: Limits[Item, Result] | None = None,
) -> Iterator[Result]:
    """Yield `function(context, item)` per item, in order; each process calls `make_context(*arguments)` once.

    With one process and no limits everything runs in this one. Others are spawned, because a fork of a process with
    threads (a progress bar, torch) can hang; so `function` and `make_context` must be defined at the top level of a
    module.

    Raises: what `function` or `make_context` raise; GanealogyError if a process is killed from outside.
    """
    if processes <= 1 and limits is None:
        context = make_context(*arguments)
        for item in items:
            yield function(context, item)
        return
    workers = [_Worker(function, make_context, arguments, limits) for _ in range(max(1, processes))]
    free, pending = deque(workers), deque[Future[Result]]()

    def call(item: Item) -> Result:
        worker = free.popleft()  # there are as many as threads
        try:
            return worker.call(item)
        finally:
            free.append(worker)

    pool = ThreadPoolExecutor(len(workers))
    try:
        for item in items:
            pending.append(pool.submit(call, item))
            if len(pending) >= 3 * len(workers):  # enough to keep all busy; more would only use memory
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for worker in workers:
            worker.stop()
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker(Generic[Item, Result]):
    """One process, started at the first item and again after each end."""

    def __init__(
        self,
        function: Callable[[Any, Item], Result],
        make_context: Callable[..., Any],
        arguments: tuple[Any, ...],
        limits: Limits[Item, Result] | None,
    ) -> None:
        self.limits = limits
        caps = (limits.seconds, limits.bytes) if limits else None
        self.work = (function, make_context, arguments, caps)
        self.running: tuple[BaseProcess, Connection] | None = None
        self.stopped, self.lock = False, threading.Lock()

    def call(self, item: Item) -> Result:
        """Return the item's result. Raises: as `parallel_map`."""
        try:
            return self._ask(item)
        except _Killed:
            if self.limits is None or self.stopped:
                raise GanealogyError(
                    "a worker process was killed, probably out of memory; set GANEALOGY_THREADS to use fewer processes"
                ) from None
        return self.limits.join([self._alone(part, self.limits) for part in self.limits.split(item)])

    def _alone(self, part: Item, limits: Limits[Item, Result]) -> Result:
        try:
            return self._ask(part)
        except _Killed as end:
            reason = {
                OUT_OF_TIME: f"takes over {limits.seconds:g} s",
                OUT_OF_MEMORY: f"takes over {limits.bytes / 2**20:,.0f} MiB of memory",
            }.get(end.code or 0, f"ends the process (exit code {end.code})")
            return limits.give_up(part, reason)

    def _ask(self, item: Item) -> Result:
        """Raises: _Killed, and what the function raises."""
        pipe = self._start()
        try:
            pipe.send(item)
            is_result, answer = pipe.recv()
        except (EOFError, OSError):
            raise _Killed(self._end()) from None
        if not is_result:
            raise answer
        return answer

    def _start(self) -> Connection:
        with self.lock:
            if self.stopped:
                raise _Killed(None)
            if self.running is None:
                spawn = multiprocessing.get_context("spawn")
                ours, theirs = spawn.Pipe()
                child = spawn.Process(target=_serve, args=(theirs, *self.work), daemon=True)
                child.start()
                theirs.close()  # else its end would go unnoticed
                try:
                    ours.recv()
                except EOFError:
                    raise GanealogyError("a worker process could not start; its own error is above") from None
                self.running = child, ours
            return self.running[1]

    def _end(self, wait_s: float = 5) -> int | None:
        """End the process and return its exit code. `wait_s`: time to end by itself."""
        with self.lock:
            if self.running is None:
                return None
            child, ours = self.running
            child.join(wait_s)
            child.kill()
            child.join()
            ours.close()
            self.running = None
            return child.exitcode

    def stop(self) -> None:
        """End the process; the item in it is lost."""
        self.stopped = True
        self._end(0)


def _serve(
    pipe: Connection,
    function: Callable[[Any, Any], Any],
    make_context: Callable[..., Any],
    arguments: tuple[Any, ...],
    caps: tuple[float, int] | None,
) -> None:
    """Answer items with (True, result) or (False, error) until the parent ends. Ctrl-C is left to the parent."""
    for number in (signal.SIGINT, *process.stop_signals()[1:]):  # the process that started this one ends it
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    memory.keep_freed()
    contexts: list[Any] = []
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    if caps is not None:
        memory.limit(caps[1])
    pipe.send("started")
    while True:
        item = pipe.recv()
        if caps is not None:
            # A thread of C, and on every platform: no signal and no other thread interrupts a decoder.
            faulthandler.dump_traceback_later(caps[0], exit=True, file=nowhere)
        try:
            if not contexts:  # at the first item, so that its error reaches the parent
                contexts.append(make_context(*arguments))
            answer = True, function(contexts[0], item)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            answer = False, error
        faulthandler.cancel_dump_traceback_later()
        pipe.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
