"""Files that are whole or absent: every output of the project reaches its final name through here."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def writing(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success it is synced and renamed onto `path`, on failure removed.

    The rename is atomic within one file system, hence "beside": a reader sees the old bytes or the new ones, and a
    full disk or a kill leaves the old file standing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        os.fchmod(handle, 0o644)  # mkstemp gives 0600, which a DVC cache shared by a group could not read
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    with writing(path) as file:
        file.write(content)


def write_text(path: Path | str, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: Path | str, content: Any) -> None:
    """Sorted keys and a fixed layout, so that equal content means equal bytes; NaN is refused, it is not JSON."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def sha256(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """sha256 of any JSON-able value, independent of key order."""
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()
