"""Zips from strangers: checked as a whole before anything is read, read as streams, never extracted to disk."""

from __future__ import annotations

import posixpath
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

from ganealogy.data.pictures import SUFFIXES, Rejected
from ganealogy.errors import GanealogyError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: equal content must give equal bytes
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError, OSError)


@dataclass(frozen=True)
class Caps:
    """What an archive may hold at most. No picture set that we know comes near; a bomb does."""

    members: int = 5_000_000
    member_bytes: int = 256 * 2**20
    total_bytes: int = 2 * 2**40
    ratio: int = 200
    """Unpacked to packed bytes, for members above 1 MiB: a picture barely shrinks in a zip, a bomb a thousandfold."""


def members(archive: zipfile.ZipFile, path: Path, caps: Caps = Caps()) -> list[zipfile.ZipInfo]:
    """All file members of an archive in its own order, after every one has been checked.

    Raises: GanealogyError on a name that is absolute, climbs out (`..`) or comes twice, a link or device, an encrypted
    member, an unknown compression, or more members, bytes or shrinkage than `caps` allow.
    """
    infos = archive.infolist()
    if len(infos) > caps.members:
        raise _refused(path, f"{len(infos):,} members, more than the {caps.members:,} that are allowed")
    total = sum(info.file_size for info in infos)
    if total > caps.total_bytes:
        raise _refused(path, f"it unpacks to {total:,} bytes, more than the {caps.total_bytes:,} that are allowed")
    placed = sorted(infos, key=lambda info: info.header_offset)
    if any(one.header_offset + one.compress_size >= two.header_offset for one, two in pairwise(placed)):
        raise _refused(path, "its members overlap, as they do in a zip bomb")
    seen: set[str] = set()
    for info in infos:
        fault = _fault(info, caps) or ("its name comes twice" if info.filename in seen else "")
        if fault:
            raise _refused(path, f"member {info.orig_filename!r}: {fault}")
        seen.add(info.filename)
    return [info for info in infos if not info.is_dir()]


def _fault(info: zipfile.ZipInfo, caps: Caps) -> str:
    name = info.orig_filename  # as it stands in the file: zipfile cuts `filename` at a NUL
    parts = name.split("/")  # a path object for each of a million names would take seconds
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not name or "\0" in name or "\\" in name or ".." in parts or name.startswith("/") or name[1:2] == ":":
        return "its name leaves the archive or is not a plain path"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or a device, not a file"
    if info.flag_bits & 0x1:
        return "it is encrypted"
    if info.compress_type not in METHODS:
        return f"unknown compression method {info.compress_type}"
    if info.file_size > caps.member_bytes:
        return f"{info.file_size:,} bytes, more than the {caps.member_bytes:,} that are allowed"
    if info.file_size > 2**20 and info.file_size > caps.ratio * max(info.compress_size, 1):
        return f"it shrinks more than {caps.ratio}-fold, as a zip bomb does"
    return ""


def _refused(path: Path, fault: str) -> GanealogyError:
    return GanealogyError(f"{path}: refused: {fault}; make the archive anew from the pictures alone")


def open_zip(path: Path) -> zipfile.ZipFile:
    """Raises: GanealogyError when the file is absent or no zip."""
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; run the download stage") from None
    except DAMAGE as error:
        raise GanealogyError(f"{path}: not a whole zip archive ({error}); delete it and fetch it again") from None


def is_picture(name: str) -> bool:
    """Whether a path inside a folder or archive names a picture; what macOS adds (`__MACOSX/`, `._x.png`) does not."""
    hidden = any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))
    return posixpath.splitext(name)[1].lower() in SUFFIXES and not hidden


class ZipPictures:
    """The pictures of one zip by index, in the archive's order."""

    labels = None

    def __init__(self, path: Path, caps: Caps = Caps()) -> None:
        """Raises: GanealogyError on an unsafe archive (see `members`) or one without pictures."""
        self.path = path
        self.archive = open_zip(path)
        self.infos = [info for info in members(self.archive, path, caps) if is_picture(info.filename)]
        if not self.infos:
            raise GanealogyError(f"{path}: no pictures in it; looked for {', '.join(SUFFIXES)}")

    def __len__(self) -> int:
        return len(self.infos)

    def name(self, index: int) -> str:
        return self.infos[index].filename

    def read(self, index: int) -> bytes:
        """The encoded picture. Raises: Rejected when the member is damaged."""
        info = self.infos[index]
        try:
            with self.archive.open(info) as member:
                return member.read(info.file_size)  # zipfile reads no more than declared, and checks the CRC
        except DAMAGE as error:
            raise Rejected(f"damaged in the archive: {error}") from None


def write_stored(file: IO[bytes], entries: Iterable[tuple[str, bytes]]) -> None:
    """Write named contents as an uncompressed zip whose bytes depend on nothing but names, contents and their order.

    Uncompressed because pictures are compressed already, and so that DVC and a reader can work at the disk's speed.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # unix, whatever system writes it
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
