"""Shared by all benchmarks: claims with targets, alternating timing, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from ganealogy.files import atomic

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Claim:
    """A measured value with a target."""

    text: str
    value: float
    target: float
    unit: str = "x"
    at_least: bool = True
    """Whether the target is a floor (a speed-up) or a ceiling (a time, a share)."""

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass
class Benchmark:
    """Collect the measurements of a script. `finish` prints and saves them, `save` only saves."""

    title: str
    quick: bool
    json_path: Path | None
    measurements: list[dict[str, Any]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def measured(self, what: str, value: float | str, unit: str = "", detail: str = "") -> None:
        self.measurements.append({"what": what, "value": value, "unit": unit, "detail": detail})

    def claim(self, text: str, value: float, target: float, unit: str = "x", at_least: bool = True) -> None:
        self.claims.append(Claim(text, value, target, unit, at_least))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finish(self) -> None:
        console = Console(width=None if sys.stdout.isatty() else 140)
        table = Table(title=self.title + (" (quick: not meaningful)" if self.quick else ""), title_justify="left")
        for column in ("measured", "value", "unit", "detail"):
            table.add_column(column, justify="right" if column == "value" else "left")
        for row in self.measurements:
            table.add_row(row["what"], shown(row["value"]), row["unit"], row["detail"])
        if self.measurements:
            console.print(table)
        if self.claims:
            verdicts = Table()
            for column in ("claim", "measured", "target", "met"):
                verdicts.add_column(column)
            for claim in self.claims:
                bound = "at least" if claim.at_least else "at most"
                verdicts.add_row(
                    claim.text,
                    f"{shown(claim.value)} {claim.unit}",
                    f"{bound} {claim.target:g} {claim.unit}",
                    "yes" if claim.met else "NO",
                )
            console.print(verdicts)
        for note in self.notes:
            console.print(f"- {note}")
        self.save()

    def save(self) -> None:
        if self.json_path is not None:
            atomic.write_text(self.json_path, json.dumps(self.content(), indent=2) + "\n")

    @contextmanager
    def finished_in_any_case(self) -> Iterator[None]:
        """Call `finish` at the end of the block, also after an error, Ctrl-C or SIGTERM.

        A signal exits with 128 plus its number. Further signals are ignored, as they would cut off the table.
        """

        def ignore() -> None:
            for number in before:
                signal.signal(number, signal.SIG_IGN)

        def stop(number: int, _frame: FrameType | None) -> None:
            ignore()
            self.note(f"stopped by {signal.Signals(number).name}: the rest was not measured")
            sys.exit(128 + number)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            ignore()
            self.finish()
            for number, handler in before.items():
                signal.signal(number, handler)

    def content(self) -> dict[str, Any]:
        claims = [{**vars(claim), "met": claim.met} for claim in self.claims]
        return {
            "title": self.title,
            "quick": self.quick,
            "machine": machine(),
            "measurements": self.measurements,
            "claims": claims,
            "notes": self.notes,
        }


def shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    load = os.getloadavg()[0]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_1_min": round(load, 1),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def begin(
    title: str, description: str | None, options: Callable[[argparse.ArgumentParser], None] | None = None
) -> tuple[Benchmark, argparse.Namespace]:
    """Parse the command line: `--quick`, `--json FILE`, and the options that `options` adds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds: only checks that the script runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measurements to FILE")
    if options is not None:
        options(parser)
    arguments = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # keep benchmark runs off the user's server
    return Benchmark(title, arguments.quick, arguments.json), arguments


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Run all contenders in every round, so that a slow phase of the machine affects all. Return name → seconds.

    A contender runs its block and returns the seconds. Every second round runs in reverse order, so that no contender
    always follows the same other one.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        order = list(contenders.items())
        for name, run in order if number % 2 == 0 else reversed(order):
            seconds = run()
            if number >= 0:
                taken[name].append(seconds)
    return taken


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median of the ratios within a round, where both sides had the same conditions."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values: list[float], scale: float = 1.0) -> str:
    """Return the range as text."""
    return f"{shown(min(values) * scale)} to {shown(max(values) * scale)} in {len(values)} rounds"
