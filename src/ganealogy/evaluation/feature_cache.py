"""Content-addressed feature cache: the same images are never passed through a network twice.

A file is an .npy array followed by the sha256 of its bytes. Files that are absent, damaged or cannot be written cost
time only: the features are computed again.
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

from ganealogy.files import arrays, atomic

MAX_BYTES = 2 * 2**30
"""Of all files together; the least recently used are deleted first."""
DIGEST_BYTES = 32


def key(extractor: Any, images: NDArray[np.uint8]) -> str:
    """Return a digest of the pictures, the extractor's protocol and code, the device and torch's version."""
    pictures = hashlib.sha256()
    for start in range(0, len(images), 1024):
        pictures.update(images[start : start + 1024].tobytes())
    modules = {base.__module__ for base in type(extractor).__mro__ if base.__module__.startswith("ganealogy.")}
    files = sorted(str(sys.modules[module].__file__) for module in modules)
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
    """Return float32 (N, d), or None if the file is absent, damaged or no such array."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        content = path.read_bytes()
        array, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if hashlib.sha256(array).digest() != digest:
            return None
        os.utime(path)  # marks it as recently used
        features = arrays.parse(array)
    except (OSError, arrays.ArrayError):
        return None
    return features if features.dtype == np.float32 and features.ndim == 2 else None


def write(path: Path, features: NDArray[np.float32]) -> None:
    """Write the features; print a warning if that fails."""
    buffer = BytesIO()
    np.save(buffer, features, allow_pickle=False)
    content = buffer.getvalue()
    try:
        atomic.write_bytes(path, content + hashlib.sha256(content).digest())
        _evict(path.parent)
    except OSError as error:
        print(f"ganealogy: {path}: features are not cached ({error.strerror})", file=sys.stderr)


def _evict(directory: Path) -> None:
    """Delete the least recently used files above MAX_BYTES; another process may do the same at the same time."""
    files = []
    for path in directory.glob("*.npy"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= MAX_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= size
