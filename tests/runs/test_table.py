"""The table of all runs: what it shows, and how it tells the time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ganealogy.runs.table import LINE_EVERY_S, RunTable, duration
from ganealogy.runtime.progress import Progress, short
from ganealogy.runtime.workers import Ended


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=24, color_system=None)


def text(table: RunTable, width: int) -> list[str]:
    capture = Console(width=width, file=io.StringIO(), color_system=None)
    capture.print(table.table(width, 24))
    return capture.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_time_left_follows_what_has_run_so_far() -> None:
    clock = Clock()
    table = RunTable(["a", "b", "c", "d"], 2, dict.fromkeys("abcd", 10.0), clock=clock)
    assert table.seconds_left() == pytest.approx(20)
    table.on_start("a")
    table.on_start("b")
    clock.now += 10
    table.on_progress("a", {"stage": "train", "fraction": 0.5})
    table.on_progress("b", {"stage": "train", "fraction": 0.5})
    # Twice as slow as expected: the two have 10 s each, the other two need 20 s each.
    assert table.seconds_left() == pytest.approx(30)
    table.on_end("a", Ended("done"))
    assert "1 of 4 runs" in table.title()


def test_the_rest_of_the_tree_is_told_beside_a_versions_own_time() -> None:
    clock = Clock()
    table = RunTable(["v1-0", "v1-1"], 2, dict.fromkeys(["v1-0", "v1-1"], 10.0), 60.0, clock)
    assert table.title() == "0 of 2 runs, 10 s left, 1 min 10 s for the whole tree"
    table.on_start("v1-0")
    clock.now += 10
    table.on_progress("v1-0", {"fraction": 0.5})
    assert table.title() == "0 of 2 runs, 20 s left, 2 min 20 s for the whole tree", "twice as slow as expected"


def test_a_tree_tells_the_time_of_each_version() -> None:
    clock = Clock()
    runs = [f"{version}-{seed}" for seed in range(2) for version in ("v1", "v2", "v10")]
    table = RunTable(runs, 2, {run: 20.0 if run.startswith("v10") else 10.0 for run in runs}, clock=clock)
    # Two places: v1-0 and v2-0 from 0 to 10, v10-0 to 30 beside v1-1 to 20 and v2-1 to 30, v10-1 to 50.
    assert table.left() == {"v1": 20.0, "v2": 30.0, "v10": 50.0}
    table.on_start("v1-0")
    table.on_start("v2-0")
    clock.now += 10
    table.on_end("v1-0", Ended("done"))
    table.on_end("v2-0", Ended("done"))
    table.on_start("v1-1")
    table.on_start("v10-0")
    lines = text(table, 80)
    [first, *_] = [line for line in lines if line.startswith("v1-1")]
    assert first.rstrip().endswith("10 s"), "the version's time on the first of its rows"
    assert sum("40 s" in line for line in lines) == 2, "v10 and the whole tree"
    table.on_end("v1-1", Ended("done"))
    assert set(table.left()) == {"v2", "v10"}


def test_a_table_of_one_version_has_its_time_in_the_title() -> None:
    table = RunTable(["v1-0", "v1-1"], 1, dict.fromkeys(["v1-0", "v1-1"], 10.0))
    assert "version" not in text(table, 80)[1] and "20 s left" in table.title()


def test_without_expectations_the_running_ones_tell_the_time() -> None:
    clock = Clock()
    table = RunTable(["a", "b"], 1, clock=clock)
    assert table.seconds_left() is None and table.title() == "0 of 2 runs"
    table.on_start("a")
    clock.now += 6
    table.on_progress("a", {"fraction": 0.5})
    assert table.seconds_left() == pytest.approx(18)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_each_run_is_one_line_of_any_width(width: int) -> None:
    clock, console = Clock(), terminal(width)
    table = RunTable([f"v{n}-{seed}" for n in range(1, 9) for seed in range(5)], 2, clock=clock, console=console)
    for name in ("v1-0", "v2-0"):
        table.on_start(name)
        table.on_progress(
            name,
            {"stage": "train", "fraction": 0.42, "images_per_second": 2151.3, "d_loss": 0.7, "g_loss": 1.9, "fd": 91},
        )
    clock.now += 4
    table.on_end("v2-0", Ended("killed", reason="its process was killed"))
    lines = text(table, width)
    assert all(len(line.rstrip()) <= width for line in lines) and len(lines) <= 24
    [running] = [line for line in lines if line.startswith("v1-0")]
    assert "train" in running and "91" in running and "…" not in running
    assert ("2,151" in running and "0.70" in running and "1.90" in running) is (width >= 80)
    assert lines[2].startswith("v2-0"), "a failed run is on top"


def test_a_log_gets_a_line_per_finished_run_and_one_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=False)
    with RunTable(["v1-0", "v1-1"], 1, clock=clock, console=console) as table:
        table.on_start("v1-0")
        table.on_progress("v1-0", {"stage": "train", "fraction": 0.5, "fd": 0.4119})
        table.draw()
        clock.now += LINE_EVERY_S
        table.draw()
        table.on_end("v1-0", Ended("done"))
        table.on_start("v1-1")
        table.on_end("v1-1", Ended("error", reason="no space"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["0 of 2 runs, 30 s left · v1-0 50%", "v1-0: done in 10 s, FD 0.412", "v1-1: failed: no space"]


def test_a_distance_keeps_three_digits() -> None:
    assert [short(value) for value in (0.04123, 0.4119, 91.24, 1234.4)] == ["0.0412", "0.412", "91.2", "1234"]


def test_durations_are_for_people() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 200, 7500)] == [
        "0 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_texts_of_runs_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons of failures quote libraries, which quote files; a node names itself."""
    hostile = "a [/x] \x1b[2J\n\u202eb\b"
    table = RunTable(["v1-0", "v1-1"], 1, console=Console(width=100, file=io.StringIO()))
    table.on_start("v1-0")
    table.on_progress("v1-0", {"stage": hostile, "node": hostile})
    drawn = io.StringIO()
    Console(width=100, file=drawn).print(table.table(100, 20))
    table.on_end("v1-0", Ended("error", reason=hostile))
    with Progress(hostile, 1) as progress:
        progress.say(hostile)
        progress.update(1, hostile)
    for shown in (drawn.getvalue(), capsys.readouterr().err):
        assert "a [/x]" in shown and all(letter.isprintable() or letter == "\n" for letter in shown)
