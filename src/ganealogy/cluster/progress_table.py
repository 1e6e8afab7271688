"""All runs in one terminal: a table that redraws itself; elsewhere (a log, CI) a line when a run gets on."""

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
SHARE = re.compile(r": +(\d+)% ")
"""In the lines of `progress.Progress`."""
REDRAW_S = 0.25
"""Drawn at every task's end, a table of 1,000 runs took the driver longer than all else."""
COLOURS = {"waiting": "dim", "done": "green", "failed": "bold red"}


@dataclass
class Line:
    state: str = "waiting"
    """waiting, a stage's name, done, failed."""
    node: str = ""
    share: float = 0.0
    """Of the current stage, 0 to 1."""
    words: str = ""
    attempts: int = 0


class View:
    def __init__(self, runs: Iterable[str], logs: Path) -> None:
        """`logs`: where each run's whole output is kept, as <run>.log."""
        self.lines = {run: Line() for run in runs}
        self.logs = logs
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.shown = -REDRAW_S

    def heard(self, run: str, node: str, text: str) -> None:
        """A line that a run printed, or `clone`, with which each attempt begins."""
        line = self.lines[run]
        if text == "clone":
            line.attempts += 1
            if line.attempts > 1:
                self._say(f"{run}: begun again on {node}")
        with open(self.logs / f"{run}.log", "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
        line.node = node
        stage, share = STAGE.search(text), SHARE.search(text)
        if text in ("clone", "data", "push") or stage:
            self.stands(run, stage.group(1) if stage else text)
        elif share:
            line.share, line.words = int(share.group(1)) / 100, text.partition("  ")[2]

    def stands(self, run: str, state: str, words: str = "") -> None:
        line = self.lines[run]
        if line.state != state:
            line.state, line.share, line.words = state, 0.0, words
            self._say(f"{run}: {state}{f' on {line.node}' if line.node else ''}{f': {words}' if words else ''}")

    def show(self) -> None:
        """Redraw the table, where there is one: no oftener than a person can read, no more than the terminal holds."""
        now = time.monotonic()
        if self.live is not None and now - self.shown >= REDRAW_S:
            self.live.update(self._table(self.console.height), refresh=True)
            self.shown = now

    def __enter__(self) -> View:
        self.logs.mkdir(parents=True, exist_ok=True)
        for run in self.lines:
            (self.logs / f"{run}.log").unlink(missing_ok=True)
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self._table(len(self.lines)))
            self.live.__exit__(kind, error, trace)

    def _say(self, text: str) -> None:
        if self.live is None:
            print(text, file=sys.stderr, flush=True)

    def _table(self, rows: int) -> Table:
        done = sum(line.state == "done" for line in self.lines.values())
        table = Table(title=f"{done} of {len(self.lines)} runs", title_justify="left", box=None, pad_edge=False)
        for heading in ("run", "stage", "", "node", ""):
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        # Those at work first: there may be more runs than `rows`.
        order = {"failed": 0, "waiting": 2, "done": 3}
        lines = sorted(self.lines.items(), key=lambda item: order.get(item[1].state, 1))
        for run, line in lines[:rows]:
            bar = ProgressBar(1.0, line.share, width=20) if line.share else ""
            table.add_row(run, line.state, bar, line.node, line.words, style=COLOURS.get(line.state))
        return table
