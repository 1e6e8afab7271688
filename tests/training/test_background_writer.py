"""Files are written in order, and a fault is told by whoever waits."""

from __future__ import annotations

import threading

import pytest

from ganealogy.training.background_writer import BackgroundWriter


def test_it_writes_in_order_while_others_go_on() -> None:
    writer, written, go = BackgroundWriter(), list[int](), threading.Event()
    writer.submit(go.wait, 10)
    for number in range(5):
        writer.submit(written.append, number)
    assert written == [], "nobody waited"
    go.set()
    writer.wait()
    assert written == [0, 1, 2, 3, 4]


def test_after_a_fault_nothing_is_written_and_whoever_waits_is_told() -> None:
    def fail() -> None:
        raise OSError(28, "no space")

    writer, written = BackgroundWriter(), list[int]()
    writer.submit(written.append, 1)
    writer.submit(fail)
    writer.submit(written.append, 2)
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            writer.wait()
    assert written == [1]
