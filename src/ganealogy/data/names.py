"""Names of pictures: any that a file system has, as printable text, and the classes that folders are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

ESCAPED = re.compile(r"%(?=[0-9A-Fa-f]{2})|\\|^.:")


def printable_name(name: str) -> str:
    """Return a name with `%41` in place of what is no printable character, a backslash or a drive's colon.

    Different names stay different, and usual ones as they are. The bytes are those of the file system.
    """
    name = ESCAPED.sub(lambda match: match[0][:-1] + f"%{ord(match[0][-1]):02X}", name)
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else _escaped(character) for character in name)


def quoted(path: str) -> str:
    """Return a path as a word of a shell command, in printable characters."""
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(_in_dollar_quotes(character) for character in path) + "'"


def _in_dollar_quotes(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in _bytes(character))


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _bytes(character))


def _bytes(character: str) -> bytes:
    return character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")


def class_folders(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]] | None:
    """Return the sorted classes of pictures in class folders, and the class of each as (N,); None without classes.

    `names`: paths with `/`. A class is the first folder below those that all pictures share. As with torchvision's
    `ImageFolder`, classes are numbered in the order of their names; a picture outside of all folders means no classes.
    """
    if not names:
        return None
    first, last = (_folders(name) for name in (min(names, key=_folders), max(names, key=_folders)))
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))))
    if len(first) == shared:
        return None
    of_each = [_folders(name)[shared] for name in names]
    classes = sorted(set(of_each))
    number = {name: index for index, name in enumerate(classes)}
    return classes, np.array([number[name] for name in of_each], np.int64)


def _folders(name: str) -> list[str]:
    return [part for part in name.split("/")[:-1] if part not in ("", ".")]
