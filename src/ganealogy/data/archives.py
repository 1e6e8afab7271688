"""Read pictures from untrusted zips: every member is checked first, and nothing is extracted to disk."""

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

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip, for all members: equal content must give equal bytes
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError, OSError)


@dataclass(frozen=True)
class Caps:
    """Limits of an archive, far above those of real picture sets."""

    members: int = 5_000_000
    member_bytes: int = 256 * 2**20
    total_bytes: int = 2 * 2**40
    ratio: int = 200
    """Unpacked to packed bytes of members above 1 MiB: about 1 for pictures, 1,000 for bombs."""


def members(archive: zipfile.ZipFile, path: Path, caps: Caps = Caps()) -> list[zipfile.ZipInfo]:
    """Check every member of an archive; return its files in the archive's order.

    Raises: GanealogyError on an absolute, climbing (`..`) or repeated name, a link or device, an encrypted member, an
    unknown compression, overlapping members, or more members, bytes or compression than `caps` allow.
    """
    infos = archive.infolist()
    if len(infos) > caps.members:
        raise _refused(path, f"{len(infos):,} members, more than the {caps.members:,} that are allowed")
    total = sum(info.file_size for info in infos)
    if total > caps.total_bytes:
        raise _refused(path, f"it unpacks to {total:,} bytes, more than the {caps.total_bytes:,} that are allowed")
    by_offset = sorted(infos, key=lambda info: info.header_offset)
    if any(one.header_offset + one.compress_size >= two.header_offset for one, two in pairwise(by_offset)):
        raise _refused(path, "its members overlap, as in a zip bomb")
    names: set[str] = set()
    for info in infos:
        fault = _fault(info, caps) or ("its name comes twice" if info.filename in names else "")
        if fault:
            raise _refused(path, f"member {info.orig_filename!r}: {fault}")
        names.add(info.filename)
    return [info for info in infos if not info.is_dir()]


def _fault(info: zipfile.ZipInfo, caps: Caps) -> str:
    name = info.orig_filename  # zipfile cuts `filename` at a NUL
    parts = name.split("/")  # not pathlib: seconds for a million names
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
        return f"it is compressed more than {caps.ratio}-fold, as in a zip bomb"
    return ""


def _refused(path: Path, fault: str) -> GanealogyError:
    return GanealogyError(f"{path}: refused: {fault}; make a new zip of the pictures alone")


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip. Raises: GanealogyError if the file is absent or no zip."""
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; run `dvc repro download`") from None
    except DAMAGE as error:
        raise GanealogyError(f"{path}: not a whole zip archive ({error}); delete it and fetch it again") from None


def is_picture(name: str) -> bool:
    """Return whether a path inside a folder or archive names a picture; macOS's `__MACOSX/` and `._x.png` do not."""
    hidden = any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))
    return posixpath.splitext(name)[1].lower() in SUFFIXES and not hidden


class ZipPictures:
    """The pictures of one zip by index, in the archive's order."""

    labels = None

    def __init__(self, path: Path, caps: Caps = Caps()) -> None:
        """Raises: GanealogyError if the archive is unsafe (see `members`) or has no pictures."""
        self.path = path
        self.archive = open_zip(path)
        self.infos = [info for info in members(self.archive, path, caps) if is_picture(info.filename)]
        if not self.infos:
            raise GanealogyError(f"{path}: no pictures in it; add {', '.join(SUFFIXES)} files")

    def __len__(self) -> int:
        return len(self.infos)

    def name(self, index: int) -> str:
        return self.infos[index].filename

    def read(self, index: int) -> bytes:
        """Return the encoded picture. Raises: Rejected if the member is damaged."""
        info = self.infos[index]
        try:
            with self.archive.open(info) as member:
                return member.read(info.file_size)  # zipfile stops at the declared size and checks the CRC
        except DAMAGE as error:
            raise Rejected(f"damaged in the archive: {error}") from None


def write_stored(file: IO[bytes], entries: Iterable[tuple[str, bytes]]) -> None:
    """Write an uncompressed zip whose bytes depend on the entries' names, contents and order alone.

    Uncompressed because pictures are compressed already, and DVC and readers then run at the disk's speed.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # unix, on any system
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
