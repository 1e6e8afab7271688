"""Write files in a background thread, so that training does not wait for the disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class BackgroundWriter:
    """Run writes one after another, in order: a checkpoint is written after its run files.

    No write runs after one that failed. Python waits for the thread before it exits.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "writer")
        self.pending: list[Future[None]] = []
        self.error: Exception | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Call `write` after all earlier writes."""
        self.pending.append(self.thread.submit(self._run, write))

    def wait(self) -> None:
        """Wait for all writes. Raises: the error of the first write that failed."""
        wait(self.pending)
        self.pending.clear()
        if self.error is not None:
            raise self.error

    def _run(self, write: Callable[[], None]) -> None:
        if self.error is not None:
            return
        try:
            write()
        except Exception as error:  # raised by `wait`, in the thread that can end the training
            self.error = error
