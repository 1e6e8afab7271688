"""Read .npy and .npz files from anywhere: header and size are checked before any value is read, and no pickle is."""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ganealogy.files.integrity import NUMPY_DAMAGE

HEAD_BYTES = 2**16
"""Read to find the header; numpy itself refuses one of more than 10,000 characters."""
MAX_MEMBERS = 100
"""Of an .npz."""
NPY, NPZ = b"\x93NUMPY", b"PK"
"""First bytes; numpy would take any other file for a pickle."""


class ArrayError(ValueError):
    """An array cannot be read; the text is the reason, without the file. `pickle`: it has one, which could run code."""

    def __init__(self, reason: str, pickle: bool = False) -> None:
        super().__init__(reason)
        self.pickle = pickle


class Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int


class Archive:
    """The arrays of an .npz by name. `headers` fit the members' sizes; values are read on demand."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Raises: ArrayError."""
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ArrayError(f"{len(members):,} members, more than {MAX_MEMBERS}")
        self.archive = archive
        self.members = {member.filename.removesuffix(".npy"): member for member in members}
        self.headers: dict[str, Header] = {}
        for name, member in self.members.items():
            with archive.open(member) as file:
                self.headers[name] = _header(file.read(HEAD_BYTES), member.file_size)

    def read(self, name: str, most: float = math.inf) -> NDArray[Any]:
        """Return an array. Raises: ArrayError if it is damaged or has more than `most` bytes."""
        size = self.headers[name].nbytes
        if size > most:
            raise ArrayError(f"{name} unpacks to {size:,} bytes, more than the {int(most):,} that there is room for")
        with _explained(), self.archive.open(self.members[name]) as file:
            array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
            file.read(1)  # at the end zipfile compares the CRC
        return array


@contextmanager
def open_npz(path: Path) -> Iterator[Archive]:
    """Open an .npz. Raises: ArrayError if it is damaged, has a pickle, or claims more values than it has."""
    with open(path, "rb") as file:
        if file.read(len(NPZ)) != NPZ:
            raise ArrayError("no .npz archive")
        with _explained():
            archive = zipfile.ZipFile(file)
        with archive:
            with _explained():
                content = Archive(archive)
            yield content


def open_npy(path: Path, mapped: bool = True) -> NDArray[Any]:
    """Return an array, memory-mapped and read-only if `mapped`.

    Raises: ArrayError if it is damaged, has a pickle, or claims more values than it has; OSError if it is absent.
    """
    with open(path, "rb") as file:
        header = _header(file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size)
    with _explained():
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped and header.nbytes else None, allow_pickle=False)
    return array


def parse(content: bytes) -> NDArray[Any]:
    """Return the array of an .npy file's bytes. Raises: ArrayError."""
    _header(content[:HEAD_BYTES], len(content))
    with _explained():
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _header(head: bytes, size: int) -> Header:
    """Return the header of an .npy of `size` bytes, given its first bytes. Raises: ArrayError."""
    if not head.startswith(NPY):
        raise ArrayError("no .npy array")
    file = io.BytesIO(head)
    with _explained():
        version = npy.read_magic(file)
        read: Any = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ArrayError(f"format version {version[0]}.{version[1]}, which no plain array has")
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ArrayError("contains a pickle, which can run code", pickle=True)
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or expected > size - file.tell():
        raise ArrayError(f"its header has the shape {_short(shape)}, but only {size - file.tell():,} bytes follow it")
    return Header(shape, dtype, expected)


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) < 100 else f"{text[:100]}..."


@contextmanager
def _explained() -> Iterator[None]:
    """Raises: ArrayError for whatever numpy and zipfile raise on damaged files; their warnings are left out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ArrayError:
        raise
    except NUMPY_DAMAGE as error:
        raise ArrayError(" ".join(str(error).split())[:200] or type(error).__name__) from None
