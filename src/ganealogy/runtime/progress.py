"""Progress of long work: a bar on a terminal, a plain line every ten seconds elsewhere (logs, CI)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

from ganealogy.runtime.process import single_printable_line

T = TypeVar("T")
LINE_EVERY_S = 10.0
SHORT_S = 1.0
"""Work that takes less shows no bar and no line, unless it has a note: the reference measures dozens of small sets."""


class _Bar(tqdm):  # type: ignore[type-arg]
    """tqdm with the rate in `pieces`, such as images/s; tqdm itself would print 1.15s/kimg."""

    pieces: tuple[float, str] = (1, "it")

    @property
    def format_dict(self) -> dict[str, Any]:
        values = dict(super().format_dict)
        elapsed = values["elapsed"]
        rate = values["rate"] or ((values["n"] - values["initial"]) / elapsed if elapsed else 0)
        values["pace"] = f"{rate * self.pieces[0]:,.0f} {self.pieces[1]}/s"
        return values


class Progress:
    """Show `total` units of work: call `update(n, note)` after each piece and `close()` at the end.

    `pieces`: (number per unit, name) if the rate is counted in something smaller, such as (1000, "images").
    """

    def __init__(
        self, label: str, total: float, unit: str = "it", initial: float = 0, pieces: tuple[float, str] | None = None
    ) -> None:
        label = single_printable_line(label)  # it may name a file
        self.label, self.total, self.unit, self.done, self.pieces = label, total, unit, initial, pieces
        self.started = self.printed = time.monotonic()
        self.initial = initial
        self.note = ""
        self.bar: Any = None
        common: dict[str, Any] = {"total": total, "desc": label, "unit": unit, "initial": initial}
        common |= {"dynamic_ncols": True, "delay": SHORT_S}
        if sys.stderr.isatty() and pieces:
            shape = (
                "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:g} {unit} [{elapsed}<{remaining}, {pace}{postfix}]"
            )
            self.bar = _Bar(bar_format=shape, **common)
            self.bar.pieces = pieces
        elif sys.stderr.isatty():
            self.bar = tqdm(unit_scale=total >= 10_000, **common)

    def update(self, n: float = 1, note: str = "") -> None:
        self.done += n
        note = single_printable_line(note)
        self.note = note or self.note
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(n)
        elif time.monotonic() - self.printed >= LINE_EVERY_S:
            self._line()

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        text = single_printable_line(text)
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        short = time.monotonic() - self.started < SHORT_S
        if self.bar is not None:
            self.bar.close()
        if self.note if short else self.bar is None:
            self._line()

    def _line(self) -> None:
        now = time.monotonic()
        rate = (self.done - self.initial) / max(now - self.started, 1e-9)
        left = max(self.total - self.done, 0) / rate if rate else float("inf")
        eta = f", {left:.0f} s left" if 0 < left < float("inf") else ""
        percent = f"{self.done / self.total:4.0%} " if self.total else ""
        note = f"  {self.note}" if self.note else ""
        pace = f"{rate * self.pieces[0]:,.0f} {self.pieces[1]}/s" if self.pieces else f"{rate:.3g} {self.unit}/s"
        print(
            f"{self.label}: {percent}{self.done:g}/{self.total:g} {self.unit}, {pace}{eta}{note}",
            file=sys.stderr,
            flush=True,
        )
        self.printed = now

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def short(value: float) -> str:
    """Format a distance for a narrow column: three digits, `0.0412`, `91.2`, `1234`."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def track(items: Iterable[T], label: str, total: int, unit: str = "it") -> Iterator[T]:
    """Yield the items and show how many of `total` are done."""
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            progress.update()
