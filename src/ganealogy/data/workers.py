"""Work spread over processes: results come in the order of the items, and only a few items are under way at a time."""

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
from ganealogy.runtime import memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def count() -> int:
    """Number of worker processes: one a core, or GANEALOGY_THREADS when that is smaller.

    Raises: GanealogyError when GANEALOGY_THREADS is not a whole number from 1 on.
    """
    cores = os.cpu_count() or 1
    cap = os.environ.get("GANEALOGY_THREADS")
    if not cap:
        return cores
    if not cap.isdecimal() or int(cap) < 1:
        raise GanealogyError(f"GANEALOGY_THREADS={cap!r}: give a whole number from 1 on, or unset it")
    return min(cores, int(cap))


def spread(
    function: Callable[[Any, Item], Result],
    items: Iterable[Item],
    prepare: Callable[..., Any],
    arguments: tuple[Any, ...],
    workers: int,
) -> Iterator[Result]:
    """Yield `function(context, item)` for each item, in order; `context = prepare(*arguments)` is made once a process.

    Processes are spawned, not forked: forking a process that has threads (a progress bar, torch) can hang. So
    `function` and `prepare` must stand at the top of a module. With one worker everything happens in this process.

    Raises: what `function` or `prepare` raise; GanealogyError when a process is killed from outside.
    """
    if workers <= 1:
        context = prepare(*arguments)
        for item in items:
            yield function(context, item)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_settle)
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(_work, function, item, prepare, arguments))
            if len(under_way) >= 3 * workers:  # enough to keep all busy; more would only cost memory
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool:
        raise GanealogyError(
            "a worker process was killed, most likely for want of memory: set GANEALOGY_THREADS to use fewer processes"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=1)
def _context(prepare: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Made at the first item, not in the pool's initializer: an error raised there would be lost."""
    return prepare(*arguments)


def _work(function: Callable[[Any, Item], Result], item: Item, prepare: Callable[..., Any], arguments: Any) -> Result:
    return function(_context(prepare, arguments), item)


def _settle() -> None:
    """Ctrl-C is the parent's to handle; and a worker must not outlive a parent that was killed."""
    memory.keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
