"""What a person sees in the terminal while a version trains."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from ganealogy.runtime import progress
from ganealogy.stages._training_progress import TrainingBar as Bar

LOSSES = "D 0.71 · G 1.90 · best 87"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tick(metrics: Path, fd: float | None) -> None:
    with metrics.open("a") as file:
        file.write(json.dumps({"tick": 1, "step": 25, "fd_pixel8": fd}) + "\n")


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    tick(tmp_path / "metrics.jsonl", 300.4)
    return tmp_path / "metrics.jsonl"


def test_one_bar_says_all(metrics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "170")
    bar = Bar("v3 seed 1", 64, metrics)
    bar.on_start(0, 1000)
    time.sleep(0.15)  # tqdm draws ten times a second at most
    bar.on_step(1, 64, LOSSES)
    tick(metrics, 91.2)
    bar.on_warning(
        "build/x.json: checkpoint cannot be used (ValueError: its sha256 is not the recorded one); trying an older"
    )
    time.sleep(0.15)
    for step in range(2, 101):
        bar.on_step(step, 64, LOSSES if step == 100 else "")
    bar.close()
    last = terminal.getvalue().split("\r")[-1]
    for part in ("v3 seed 1", "10%", "6.4/64 kimg", "images/s", "D 0.71 · G 1.90", "FD 91, best 87", "! build/x.json"):
        assert part in last, last
    assert "<" in last.split("[")[1], "elapsed < left"
    assert "kimg/s" not in last and "s/kimg" not in last
    assert "recorded one); trying an older\n" in terminal.getvalue(), "the warning, whole, on a line of its own"


def test_a_log_gets_plain_lines(
    metrics: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    bar = Bar("v3 seed 1", 64, metrics)
    bar.on_warning("before it began")
    bar.on_start(0, 1000)
    bar.on_step(1, 64, LOSSES)
    said = capsys.readouterr().err
    assert "before it began\n" in said
    assert "images/s" in said and "s left" in said and "FD 300, best 87 · ! before it began" in said


@pytest.mark.parametrize("content", [None, "", "{", '{"fd_pixel8": null}', "[]"])
def test_a_record_that_cannot_be_read_stops_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    bar = Bar("v3 seed 1", 64, tmp_path / "metrics.jsonl")
    bar.on_start(0, 10)
    bar.on_step(1, 64, LOSSES)
    assert bar.progress is not None
    assert bar.progress.note == "D 0.71 · G 1.90 · best 87"
