"""The progress of all runs: a table on a terminal, lines in a log."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ganealogy.cluster.progress_table import ProgressTable


def test_a_log_gets_one_line_per_change_of_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressTable(["v1-0"], tmp_path) as table:
        for line in ("clone", "Running stage 'train@v1-0':", "v1 seed 0:  50% 1/2 kimg  d 0.7"):
            table.on_line("v1-0", "here", line)
        table.set_state("v1-0", "failed", "no room")
    assert capsys.readouterr().err.splitlines() == [
        "v1-0: clone on here",
        "v1-0: train on here",
        "v1-0: failed on here: no room",
    ]
    assert (tmp_path / "v1-0.log").read_text().count("\n") == 3


def test_a_terminal_shows_running_rows_of_a_thousand_runs_and_all_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of drawing does not grow with the calls."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "100", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    table = ProgressTable([f"v{number}-0" for number in range(1000)], tmp_path)
    with table:
        table.on_line("v999-0", "here", "clone")
        began = time.process_time()
        for _ in range(100):
            table.draw()
        assert time.process_time() - began < 2, "every call drew the table"
        during = capsys.readouterr().err
        table.set_state("v999-0", "done")
    assert "0 of 1000 runs" in during and "v999-0" in during and "v500-0" not in during
    after = capsys.readouterr().err
    assert "1 of 1000 runs" in after and "v500-0" in after
