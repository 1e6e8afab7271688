"""Check files against recorded hashes before anything is computed from them."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ganealogy.errors import GanealogyError, Remedy
from ganealogy.files import atomic
from ganealogy.workspace import RunDir

NUMPY_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
)
"""Raised by `np.load` on damaged files: it parses the header as Python, and archives as zips."""


def verify(path: Path, sha256: object, remedy: Remedy) -> None:
    """Raises: GanealogyError, which ends with the remedy, if the file is absent or its sha256 differs."""
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; {remedy.absent}")
    actual = atomic.sha256(path)
    if actual != sha256:
        found = f"its sha256 is {actual[:12]}..., not {str(sha256)[:12]}..."
        raise GanealogyError(f"{path}: damaged: {found}; {remedy.damaged}")


def verify_weights(run: RunDir, trained: Mapping[str, Any], name: str) -> Path:
    """Return the path of a run's weights, checked against `trained`, the content of run.json; `name`: the file's stem.

    Raises: GanealogyError if the file is absent or damaged. It is not checked if `trained` has no hash of it.
    """
    path = run / f"train/weights/{name}.safetensors"
    sums = trained.get("weights")
    if isinstance(sums, dict) and name in sums:
        verify(path, sums[name], Remedy(f"train@{run.version}"))
    return path
