"""Show the progress of all runs: a live table on a terminal; in a log, one line per change of state."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

STAGE = re.compile(r"(?:Running stage|Stage) '(\w+)@")
PERCENT = re.compile(r": +(\d+)% ")
"""In the lines of `runtime.progress.Progress`."""
REDRAW_S = 0.25
"""Shortest time between two drawings. With 1,000 runs, one drawing per result was most of the driver's work."""
COLOURS = {"waiting": "dim", "done": "green", "failed": "bold red"}
PHASES = ("clone", "data", "push")
"""States outside the stages of dvc.yaml, logged by `remote_run`."""


@dataclass
class Row:
    state: str = "waiting"
    """waiting, one of `PHASES`, a stage's name, done or failed."""
    node: str = ""
    fraction: float = 0.0
    """Progress of the current stage, 0 to 1."""
    note: str = ""
    attempts: int = 0


class ProgressTable:
    """A context manager: it clears the runs' log files and shows the table while it is open."""

    def __init__(self, runs: Iterable[str], logs: Path) -> None:
        """`logs`: folder of the complete output of each run, <run>.log."""
        self.rows = {run: Row() for run in runs}
        self.logs = logs
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.drawn_at = -REDRAW_S

    def on_line(self, run: str, node: str, text: str) -> None:
        """Log a line of output of `run` and update its row. The line `clone` starts an attempt."""
        row = self.rows[run]
        if text == "clone":
            row.attempts += 1
            if row.attempts > 1:
                self._print(f"{run}: restarted on {node}")
        with open(self.logs / f"{run}.log", "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
        row.node = node
        stage, percent = STAGE.search(text), PERCENT.search(text)
        if text in PHASES or stage:
            self.set_state(run, stage.group(1) if stage else text)
        elif percent:
            row.fraction, row.note = int(percent.group(1)) / 100, text.partition("  ")[2]

    def set_state(self, run: str, state: str, note: str = "") -> None:
        row = self.rows[run]
        if row.state != state:
            row.state, row.fraction, row.note = state, 0.0, note
            self._print(f"{run}: {state}{f' on {row.node}' if row.node else ''}{f': {note}' if note else ''}")

    def draw(self) -> None:
        """Draw the table, at most every `REDRAW_S` seconds, with as many rows as the terminal has."""
        now = time.monotonic()
        if self.live is not None and now - self.drawn_at >= REDRAW_S:
            self.live.update(self._table(self.console.height), refresh=True)
            self.drawn_at = now

    def __enter__(self) -> ProgressTable:
        self.logs.mkdir(parents=True, exist_ok=True)
        for run in self.rows:
            (self.logs / f"{run}.log").unlink(missing_ok=True)
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self._table(len(self.rows)))
            self.live.__exit__(kind, error, trace)

    def _print(self, text: str) -> None:
        if self.live is None:
            print(text, file=sys.stderr, flush=True)

    def _table(self, height: int) -> Table:
        done = sum(row.state == "done" for row in self.rows.values())
        table = Table(title=f"{done} of {len(self.rows)} runs", title_justify="left", box=None, pad_edge=False)
        for heading in ("run", "stage", "", "node", ""):
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        # Failed and running first: there may be more runs than `height`.
        order = {"failed": 0, "waiting": 2, "done": 3}
        rows = sorted(self.rows.items(), key=lambda item: order.get(item[1].state, 1))
        for run, row in rows[:height]:
            bar = ProgressBar(1.0, row.fraction, width=20) if row.fraction else ""
            table.add_row(run, row.state, bar, row.node, row.note, style=COLOURS.get(row.state))
        return table
