"""Write files atomically: a reader sees the whole new file or the old one. All outputs are written with these."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def writing(path: Path | str) -> Iterator[IO[bytes]]:
    """Yield a temporary file in the directory of `path`; sync and rename it to `path`, or remove it on an error.

    The rename is atomic because both are on one file system: a full disk or a kill leaves the old file unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        Path(name).chmod(0o644)  # mkstemp uses 0600, unreadable in a DVC cache that a group shares
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_directory(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_directory(path: Path) -> None:
    """Make a rename in a directory outlast a power cut, where the system can: some cannot open or sync directories."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path | str, content: bytes) -> None:
    with writing(path) as file:
        file.write(content)


def write_text(path: Path | str, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON with sorted keys: equal content gives equal bytes. Raises: ValueError for NaN, which JSON lacks."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def sha256(path: Path | str) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Return the sha256 of a JSON value, independent of key order."""
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()
