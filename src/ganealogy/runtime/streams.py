"""Standard output and standard error: what is for show must neither end the work nor steer the terminal."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ganealogy.errors import GanealogyError, printable

STEERING = re.compile("\x1b(?!\\[)|[\x07\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Escape sequences other than colours and moves of the cursor, which progress bars need, and controls of direction."""


USERS_LINES = ("ganealogy: ", "warning: ")
"""Beginnings of lines for the user, which have no colours: all control characters in them are made visible."""


class Descriptor(io.FileIO):
    """An open descriptor to which a failing write is noted and its data dropped."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.fault = self.fault or error
            return len(data)


class Shown(io.TextIOWrapper):
    """A text stream in which letters that the encoding lacks are replaced and STEERING is made visible."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self.descriptor = Descriptor(descriptor, "w", closefd=False)
        super().__init__(io.BufferedWriter(self.descriptor), encoding, errors="replace", line_buffering=True)

    def write(self, text: str) -> int:
        if text.startswith(USERS_LINES):
            text = printable(text)
        return super().write(STEERING.sub(lambda found: ascii(found.group())[1:-1], text))


@contextmanager
def for_show() -> Iterator[None]:
    """Replace the process's standard streams by `Shown` ones; closed ones become the null device.

    Streams that a test or another program put in their place stay.

    Raises: GanealogyError at the end when standard output was not written as a whole, except to a closed pipe, or under
    DVC, where the result is in files.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would get its number
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None or (type(stream) is io.TextIOWrapper and stream.fileno() == number):
            setattr(sys, name, Shown(number, stream.encoding if stream else "utf-8"))
    try:
        yield
    except SystemExit as end:
        if end.code:
            raise
    shown = sys.stdout
    if isinstance(shown, Shown):
        shown.flush()
        fault = shown.descriptor.fault
        if fault is not None and fault.errno != errno.EPIPE and "DVC_STAGE" not in os.environ:
            raise GanealogyError(f"standard output: {fault.strerror}; what it was to show is lost: show it elsewhere")
