"""Features kept by what they are of: an unchanged set of pictures passes through a network once, whoever asks.

A file is an .npy array and, behind it, the sha256 of its bytes. It is only a cache: what is absent, damaged or cannot
be written costs the time of the network and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.files import atomic

LIMIT = 2 * 2**30
"""Bytes; the files that were not read for longest go first."""
DIGEST = 32


def key(extractor: Any, images: NDArray[np.uint8]) -> str:
    """Of the pictures' bytes, the extractor's protocol and code, and the library and device that compute it."""
    pictures = hashlib.sha256()
    for start in range(0, len(images), 1024):
        pictures.update(images[start : start + 1024].tobytes())
    own = [kind for kind in type(extractor).__mro__ if kind.__module__.startswith("ganealogy.")]
    files = sorted({str(sys.modules[kind.__module__].__file__) for kind in own})
    parts = {
        "pictures": pictures.hexdigest(),
        "shape": list(images.shape),
        "extractor": extractor.name,
        "protocol": extractor.protocol,
        "code": [atomic.sha256(file) for file in files],
        "device": str(getattr(extractor, "device", "cpu")),
        "torch": version("torch"),
    }
    return atomic.digest(parts)


def read(path: Path) -> NDArray[np.float32] | None:
    """The array, or None where there is none or its bytes are not those that were written."""
    try:
        content = path.read_bytes()
        array, digest = content[:-DIGEST], content[-DIGEST:]
        if hashlib.sha256(array).digest() != digest:
            return None
        os.utime(path)  # used: not the next to go
        features: NDArray[np.float32] = np.load(BytesIO(array), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return features


def write(path: Path, features: NDArray[np.float32]) -> None:
    buffer = BytesIO()
    np.save(buffer, features, allow_pickle=False)
    content = buffer.getvalue()
    try:
        atomic.write_bytes(path, content + hashlib.sha256(content).digest())
        _make_room(path.parent)
    except OSError as error:
        print(f"ganealogy: {path}: features are not kept ({error.strerror})", file=sys.stderr)


def _make_room(directory: Path) -> None:
    """Drop the oldest files above the limit; another process may be doing the same."""
    found = []
    for path in directory.glob("*.npy"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= LIMIT:
            break
        path.unlink(missing_ok=True)
        total -= size
