"""Files that are written while the training goes on: it need not wait for a disk, which may be far away."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any


class BackgroundWriter:
    """One thread, so that files appear in the order in which they were handed over: a record before the checkpoint
    that goes on from it, and none after one that failed. Python does not end before the thread is done."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "writer")
        self.given: list[Future[None]] = []
        self.fault: Exception | None = None

    def submit(self, write: Callable[..., None], *content: Any) -> None:
        """Call it when all that came before is written; nobody may change the content meanwhile."""
        self.given.append(self.thread.submit(self._write, write, content))

    def wait(self) -> None:
        """Until all of it is written. Raises: what the first of them raised that failed."""
        wait(self.given)
        self.given.clear()
        if self.fault is not None:
            raise self.fault

    def _write(self, write: Callable[..., None], content: tuple[Any, ...]) -> None:
        if self.fault is not None:
            return
        try:
            write(*content)
        except Exception as fault:  # told by `wait`, to the thread that can end the training
            self.fault = fault
