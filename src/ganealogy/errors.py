"""The errors a person can cause and cure."""

from __future__ import annotations


class GanealogyError(Exception):
    """One line that says what is wrong, where, and what to do; the CLI prints it and exits with 2."""


def one_of(what: str, got: object, known: object, where: str = "") -> GanealogyError:
    """The error for a name that is not among the known ones."""
    names = ", ".join(str(name) for name in known)  # type: ignore[attr-defined]
    place = f"{where}: " if where else ""
    return GanealogyError(f"{place}unknown {what} {got!r}; known: {names}")
