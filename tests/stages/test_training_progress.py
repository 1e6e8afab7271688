"""The progress of a training in the terminal."""

from __future__ import annotations

import io
import itertools
import time

import pytest

from ganealogy.runtime import progress
from ganealogy.stages._training_progress import STEP_SECONDS, TrainingProgress

SCALARS = {"d_loss": 0.71, "g_loss": 1.9, "fd": 0.4119, "best": 0.4063}
WARNING = "build/x.json: checkpoint cannot be used (ValueError: its sha256 differs); trying an older one"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_bar_shows_kimg_rate_time_losses_scores_and_the_newest_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "170")
    clock = itertools.count(1000.0)  # tqdm draws at most ten times per second: here each look is one second later
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    training = TrainingProgress("v3 seed 1", 64)
    training.on_start(0, 1000)
    training.on_step(1, SCALARS)
    training.on_warning(WARNING)
    for step in range(2, 101):
        training.on_step(step, SCALARS if step == 100 else None)
    training.close()
    last = terminal.getvalue().split("\r")[-1]
    for part in (
        "v3 seed 1",
        "10%",
        "6.4/64 kimg",
        "images/s",
        "D 0.71 · G 1.90",
        "FD 0.412, best 0.406",
        "! build/x.json",
    ):
        assert part in last, last
    assert "<" in last.split("[")[1], "elapsed < left"
    assert "kimg/s" not in last and "s/kimg" not in last
    assert f"{WARNING}\n" in terminal.getvalue(), "the warning has a line of its own"


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    training = TrainingProgress("v3 seed 1", 64)
    training.on_warning("before the start")
    training.on_start(0, 1000)
    training.on_step(1, SCALARS)
    output = capsys.readouterr().err
    assert "before the start\n" in output
    assert "images/s" in output and "s left" in output and "FD 0.412, best 0.406 · ! before the start" in output


def test_before_the_first_tick_there_is_no_score(capsys: pytest.CaptureFixture[str]) -> None:
    training = TrainingProgress("v3 seed 1", 64)
    training.on_start(0, 10)
    training.on_step(1, {"d_loss": 0.71, "g_loss": 1.9})
    assert training.bar is not None and training.bar.note == "D 0.71 · G 1.90"


def test_steps_can_be_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setenv(STEP_SECONDS, "0.05")
    training = TrainingProgress("v3 seed 1", 64)
    training.on_step(1, None)
    assert pauses == [0.05]
