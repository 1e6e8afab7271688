"""The one view of all runs: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ganealogy.cluster.progress_table import View


def test_a_run_gets_on_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with View(["v1-0"], tmp_path) as view:
        for line in ("clone", "Running stage 'train@v1-0':", "v1 seed 0:  50% 1/2 kimg  d 0.7"):
            view.heard("v1-0", "here", line)
        view.stands("v1-0", "failed", "no room")
    assert capsys.readouterr().err.splitlines() == [
        "v1-0: clone on here",
        "v1-0: train on here",
        "v1-0: failed on here: no room",
    ]
    assert (tmp_path / "v1-0.log").read_text().count("\n") == 3


def test_a_thousand_runs_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing is no work that grows with the runs, those at work are seen, and in the end all are."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "100", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    view = View([f"v{number}-0" for number in range(1000)], tmp_path)
    with view:
        view.heard("v999-0", "here", "clone")
        began = time.process_time()
        for _ in range(100):
            view.show()
        assert time.process_time() - began < 2, "every call drew the table"
        during = capsys.readouterr().err
        view.stands("v999-0", "done")
    assert "0 of 1000 runs" in during and "v999-0" in during and "v500-0" not in during
    after = capsys.readouterr().err
    assert "1 of 1000 runs" in after and "v500-0" in after
