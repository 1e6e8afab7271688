"""When the progress of work is shown."""

import io
import sys
from collections.abc import Callable

import pytest

from ganealogy.runtime import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[io.StringIO, Terminal], ids=["log", "terminal"])
def printed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    def work(note: str) -> str:
        stream: io.StringIO = request.param()
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.Progress("cutting", 4, "pictures") as shown:
            for _ in range(4):
                shown.update(1, note)
        return stream.getvalue()

    return work


def test_short_work_shows_nothing(printed: Callable[[str], str]) -> None:
    assert "cutting" not in printed("")


def test_a_note_is_shown_even_of_short_work(printed: Callable[[str], str]) -> None:
    assert "cutting: 100% 4/4 pictures" in printed("1 rejected")
    assert printed("1 rejected").endswith("  1 rejected\n")


def test_long_work_is_shown(printed: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHORT_S", 0.0)
    text = printed("")
    assert "cutting: 100%" in text
    assert "4/4" in text
