"""Map a function over items with several processes, in order and with few items in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing.connection import wait
from typing import Any, TypeVar

from ganealogy.errors import GanealogyError
from ganealogy.runtime import memory, process

Item = TypeVar("Item")
Result = TypeVar("Result")


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
) -> Iterator[Result]:
    """Yield `function(context, item)` per item, in order; each process calls `make_context(*arguments)` once.

    With one process everything runs in this one. Others are spawned, because a fork of a process with threads (a
    progress bar, torch) can hang; so `function` and `make_context` must be defined at the top level of a module.

    Raises: what `function` or `make_context` raise; GanealogyError if a process is killed from outside.
    """
    if processes <= 1:
        context = make_context(*arguments)
        for item in items:
            yield function(context, item)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_start_worker)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(_call, function, item, make_context, arguments))
            if len(pending) >= 3 * processes:  # enough to keep all busy; more would only use memory
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise GanealogyError(
            "a worker process was killed, probably out of memory; set GANEALOGY_THREADS to use fewer processes"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=1)
def _context(make_context: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Called at the first item, not in the pool's initializer: an error raised there would be lost."""
    return make_context(*arguments)


def _call(
    function: Callable[[Any, Item], Result], item: Item, make_context: Callable[..., Any], arguments: Any
) -> Result:
    return function(_context(make_context, arguments), item)


def _start_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent is killed."""
    memory.keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
