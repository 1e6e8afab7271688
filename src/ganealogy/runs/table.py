"""The progress of all runs: a live table on a terminal; in a log, a line per finished run and one every ten seconds."""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ganealogy.runtime.process import single_printable_line
from ganealogy.runtime.progress import short
from ganealogy.runtime.tables import text
from ganealogy.runtime.workers import Ended, Watcher

REDRAW_S = 0.25
"""Shortest time between two drawings. With 1,000 runs, one drawing per message was most of the driver's work."""
LINE_EVERY_S = 10.0
COLOURS = {"waiting": "dim", "done": "green", "failed": "bold red", "stopped": "yellow"}
WIDE = 76
"""Columns of a terminal that has room for the losses and the bar."""
TRAINING = "train"


@dataclass
class Row:
    expected: float | None = None
    """Seconds that the run should take here, beside the others."""
    state: str = "waiting"
    """waiting, a stage, what the cluster does, done, failed or stopped."""
    fraction: float = 0.0
    """Of the training."""
    numbers: dict[str, float] = field(default_factory=dict)
    """images_per_second, d_loss, g_loss, fd, best."""
    node: str = ""
    note: str = ""
    began: float | None = None
    ended: float | None = None

    @property
    def is_running(self) -> bool:
        return self.began is not None and self.ended is None


class RunTable(Watcher):
    """A context manager that shows the runs while it is open."""

    def __init__(
        self,
        runs: Iterable[str],
        places: int,
        expected: Mapping[str, float] | None = None,
        later: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        """`places`: runs at a time. `expected`: run → seconds that it should take.

        `later`: seconds of the rest of the tree after these runs, if they are one version's.
        """
        expected = expected or {}
        self.rows = {run: Row(expected.get(run)) for run in runs}
        self.places, self.later, self.clock = places, later, clock
        self.console = console or Console(stderr=True)
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.drawn = self.printed = clock()

    def on_start(self, name: str) -> None:
        row = self.rows[name]
        row.began, row.ended, row.state = self.clock(), None, "start"

    def on_progress(self, name: str, progress: Mapping[str, Any]) -> None:
        """Take over `stage` (or any other state), `fraction`, `node`, `note` and numbers."""
        row = self.rows[name]
        values = dict(progress)
        row.state = str(values.pop("stage", row.state))
        row.fraction = float(values.pop("fraction", row.fraction))
        row.node, row.note = (
            single_printable_line(str(values.pop(key, was))) for key, was in (("node", row.node), ("note", row.note))
        )
        row.numbers |= {key: float(value) for key, value in values.items()}

    def on_line(self, name: str, line: str) -> None:
        """Show a line that the run printed for the user."""
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def on_end(self, name: str, ended: Ended) -> None:
        row = self.rows[name]
        row.ended, row.note = self.clock(), single_printable_line(ended.reason)
        row.state = "failed" if ended.failed else "stopped" if ended.how == "stopped" else "done"
        if self.live is None:
            took = f" in {duration(row.ended - row.began)}" if row.began is not None and row.state == "done" else ""
            where = f" on {row.node}" if row.node else ""
            print(
                f"{name}: {row.state}{took}{where}{_scores(row)}{f': {row.note}' if row.note else ''}",
                file=sys.stderr,
                flush=True,
            )

    def draw(self) -> None:
        """Draw the table, or print a line about all runs, if it is time."""
        now = self.clock()
        if self.live is not None and now - self.drawn >= REDRAW_S:
            self.live.update(self.table(self.console.width, self.console.height), refresh=True)
            self.drawn = now
        elif self.live is None and now - self.printed >= LINE_EVERY_S:
            running = [f"{name} {row.fraction:.0%}" for name, row in self.rows.items() if row.is_running]
            print(" · ".join([self.title(), *running[: self.places]]), file=sys.stderr, flush=True)
            self.printed = now

    def title(self) -> str:
        done = sum(row.state == "done" for row in self.rows.values())
        left = self.seconds_left()
        line = f"{done} of {len(self.rows)} runs{f', {duration(left)} left' if left else ''}"
        if left and self.later:
            line += f", {duration(left + self.later * self._factor())} for the whole tree"
        return line

    def _factor(self) -> float:
        """Return by how much the runs so far were slower than expected."""
        now = self.clock()
        known = [
            (row.expected * self._share(row), (row.ended or now) - row.began)
            for row in self.rows.values()
            if row.began is not None and row.expected and self._share(row)
        ]
        due, spent = sum(part for part, _ in known), sum(seconds for _, seconds in known)
        return spent / due if due > 0 else 1.0

    def seconds_left(self) -> float | None:
        """Return the time until all runs have ended; None while nothing is known."""
        return max(self.left().values(), default=None)

    def left(self) -> dict[str, float]:
        """Return version → time until its last run has ended; empty while nothing is known.

        What has run so far corrects what was expected: a busy machine is slower.
        """
        rows, now = self.rows.values(), self.clock()
        began = [(row, self._share(row)) for row in rows if row.began is not None]
        measured = [((row.ended or now) - (row.began or now)) / share for row, share in began if share]
        if not measured and not any(row.expected for row in rows):
            return {}
        factor = self._factor()
        typical = sum(measured) / len(measured) if measured else 0.0
        places = [0.0] * self.places
        left: dict[str, float] = {}
        for name, row in sorted(self.rows.items(), key=lambda item: not item[1].is_running):  # then in their order
            if row.ended is None:
                whole = row.expected * factor if row.expected else typical
                end = places[0] + whole * (1 - self._share(row))
                heapq.heapreplace(places, end)
                version = version_of(name)
                left[version] = max(left.get(version, 0.0), end)
        return left

    @staticmethod
    def _share(row: Row) -> float:
        """Return the part of the run that is done."""
        if row.ended is not None:
            return 1.0 if row.state == "done" else 0.0
        return min(row.fraction, 0.99)

    def table(self, width: int, height: int) -> Table:
        """Return the table for a terminal of `width` columns and `height` lines.

        `left` is the time of the run, `version` that of the version's last run.
        """
        wide = width >= WIDE
        title = self.title()
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, min_width=min(len(title), width))
        several = len({version_of(name) for name in self.rows}) > 1
        nodes = any(row.node for row in self.rows.values())
        headings = ["run", "stage", "", *(("img/s", "D", "G") if wide else ()), "FD", "left"]
        for heading in [*headings, *(["version"] if several else ()), *(["node"] if nodes else ())]:
            left_side = heading in ("run", "stage", "", "node")
            table.add_column(heading, no_wrap=True, overflow="ellipsis", justify="left" if left_side else "right")
        # Failed and running first: there may be more runs than lines.
        order = {"failed": 0, "waiting": 2, "stopped": 2, "done": 3}
        rows = sorted(self.rows.items(), key=lambda item: order.get(item[1].state, 1))
        left = self.left() if several else {}
        for name, row in rows[: max(1, height - 3)]:
            cells = self._cells(name, row, wide)
            if several:  # each version's time on the first row that shows it
                seconds = left.pop(version_of(name), None)
                cells.append(duration(seconds) if seconds else "")
            table.add_row(*cells, *([text(row.node)] if nodes else ()), style=COLOURS.get(row.state))
        return table

    def _cells(self, name: str, row: Row, wide: bool) -> list[Any]:
        numbers = row.numbers
        part: Any = ""
        if row.is_running and row.fraction:
            part = ProgressBar(1.0, row.fraction, width=10) if wide else f"{row.fraction:.0%}"
        shown = [_number(numbers, "images_per_second", ",.0f"), _number(numbers, "d_loss"), _number(numbers, "g_loss")]
        left = ""
        if row.is_running and row.fraction and row.state == TRAINING:
            left = duration((self.clock() - (row.began or 0)) / row.fraction * (1 - row.fraction))
        elif row.ended is not None and row.began is not None:
            left = f"in {duration(row.ended - row.began)}"
        return [
            text(name),
            text(row.state),
            part,
            *(shown if wide else ()),
            short(numbers["fd"]) if "fd" in numbers else "",
            left,
        ]

    def __enter__(self) -> RunTable:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self.table(self.console.width, len(self.rows) + 3))
            self.live.__exit__(kind, error, trace)


def version_of(run: str) -> str:
    """Return the version of a run's name, such as v3 of v3-0."""
    return run.rpartition("-")[0]


def duration(seconds: float) -> str:
    """Return a time for people: `48 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _number(numbers: Mapping[str, float], key: str, form: str = ".2f") -> str:
    return format(numbers[key], form) if key in numbers else ""


def _scores(row: Row) -> str:
    return f", FD {short(row.numbers['fd'])}" if "fd" in row.numbers else ""
