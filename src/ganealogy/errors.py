"""Errors that a user can fix, and their one-line texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class GanealogyError(Exception):
    """One line: what is wrong and where, what is legal, what to do. The CLI prints it and exits with 2."""


@dataclass(frozen=True)
class Remedy:
    """What to type for an output of a stage of dvc.yaml that is absent, or damaged."""

    target: str
    """Such as reference or train@v3."""

    @property
    def absent(self) -> str:
        return f"run `dvc repro {self.target}`"

    @property
    def damaged(self) -> str:
        """Forced: DVC takes a file for whole if its size and time are as recorded, or if it was damaged by then."""
        return f"run `dvc repro --force --single-item {self.target}`"


def one_of(kind: str, value: object, legal: Iterable[object], where: str = "") -> GanealogyError:
    """Return the error for a name that is not among the legal ones."""
    place = f"{where}: " if where else ""
    return GanealogyError(f"{place}unknown {kind} {value!r}; known: {', '.join(map(str, legal))}")


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def printable(text: str) -> str:
    """Return the text without control characters, which could steer a terminal or reverse the order of a line.

    They are written as escapes such as `\\x1b`, and white space other than line breaks as spaces.
    """
    if text.isprintable():
        return text
    shown = (letter if letter.isprintable() or letter == "\n" else _visible(letter) for letter in text)
    return "".join(shown)


def _visible(letter: str) -> str:
    return " " if letter.isspace() else ascii(letter)[1:-1]
