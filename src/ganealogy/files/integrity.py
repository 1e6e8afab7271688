"""Bytes that are what their record says: a flipped bit is named before anything is computed from it."""

from __future__ import annotations

import struct
import tokenize
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic

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
    RecursionError,
    NotImplementedError,
    SyntaxError,
    tokenize.TokenError,
    BadZipFile,
    zlib.error,
    struct.error,
)
"""What `np.load` raises on bytes that are no array: its header is an expression of Python, its archive a zip."""


def verify(path: Path, sha256: object, cure: str) -> None:
    """Raises: GanealogyError when the file is absent or its sha256 is another one."""
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; {cure}")
    found = atomic.sha256(path)
    if found != sha256:
        raise GanealogyError(f"{path}: damaged: its sha256 is {found[:12]}..., not {str(sha256)[:12]}...; {cure}")


def verify_weights(run: Path, trained: Mapping[str, Any], name: str) -> Path:
    """The weights file `name` of a run directory, checked against `trained`, the content of its run.json.

    Raises: GanealogyError when it is absent or damaged. A record from before hashes were kept is taken as it is.
    """
    path = run / "train" / "weights" / f"{name}.safetensors"
    sums = trained.get("weights")
    if isinstance(sums, dict) and name in sums:
        verify(path, sums[name], f"run `dvc repro --force train@{run.name}`")
    return path
