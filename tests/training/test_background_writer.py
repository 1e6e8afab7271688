"""Files are written in the background, in order, and an error is raised by `wait`."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from ganealogy.training.background_writer import BackgroundWriter


def test_writes_happen_in_order_while_the_caller_continues() -> None:
    writer, written, go = BackgroundWriter(), list[int](), threading.Event()
    writer.submit(lambda: go.wait(10) and None)
    for number in range(5):
        writer.submit(partial(written.append, number))
    assert written == [], "submit returned before the writes"
    go.set()
    writer.wait()
    assert written == [0, 1, 2, 3, 4]


def test_after_an_error_nothing_is_written_and_each_wait_raises_it() -> None:
    def fail() -> None:
        raise OSError(28, "no space")

    writer, written = BackgroundWriter(), list[int]()
    writer.submit(partial(written.append, 1))
    writer.submit(fail)
    writer.submit(partial(written.append, 2))
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            writer.wait()
    assert written == [1]
