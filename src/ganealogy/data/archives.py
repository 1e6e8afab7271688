"""Read pictures from untrusted zips and tar archives: members are checked, and nothing is extracted to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ganealogy.data.names import printable_name
from ganealogy.data.pictures import SIGNATURE_BYTES, SUFFIXES, Rejected, has_signature
from ganealogy.errors import GanealogyError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip, for all members: equal content must give equal bytes
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(struct.error, ValueError, OSError),
)
COMPRESSIONS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
TAR_SUFFIXES = {".tar", ".tgz", ".tbz", ".tbz2", ".txz"}
OTHER_FORMATS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
}
ADVICE = "name a folder of pictures, or a zip or tar archive of them"


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
        name = _slashes(info.filename)
        fault = _fault(info, caps) or ("its name comes twice" if name in names else "")
        if fault:
            raise _refused(path, f"member {info.orig_filename!r}: {fault}")
        names.add(name)
    return [info for info in infos if not _slashes(info.filename).endswith("/")]


def _slashes(name: str) -> str:
    """Return a path with `/`; some programs of Windows write a backslash into zips."""
    return name.replace("\\", "/")


def _shown(info: zipfile.ZipInfo) -> str:
    name = _slashes(info.filename)
    return name if name.isprintable() else printable_name(name)  # a zip of this project has printable names


def _leaves(name: str) -> bool:
    """Return whether a member's name is no plain path inside its archive."""
    parts = name.split("/")  # not pathlib: seconds for a million names
    has_drive = len(parts) > 1 and parts[0][1:] == ":"
    return not name or "\0" in name or ".." in parts or not parts[0] or has_drive


def _fault(info: zipfile.ZipInfo, caps: Caps) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if _leaves(_slashes(info.orig_filename)):  # zipfile cuts `filename` at a NUL
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
        raise GanealogyError(f"{path}: {_what(path, error)}; {ADVICE}") from None


def _what(path: Path, error: Exception) -> str:
    """Describe a file that is no archive."""
    try:
        with open(path, "rb") as file:
            header = file.read(SIGNATURE_BYTES)
    except OSError as reason:
        return f"cannot be read ({reason.strerror})"
    if has_signature(header):
        return "a single picture"
    kind = next((kind for signature, kind in OTHER_FORMATS.items() if header.startswith(signature)), "")
    return f"{kind}, which is not supported: unpack it" if kind else f"not a whole zip archive ({error})"


def is_picture(name: str) -> bool:
    """Return whether a path inside a folder or archive names a picture; macOS's `__MACOSX/` and `._x.png` do not."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES and not is_hidden(name)


def is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))


def why_not(name: str, header: Callable[[], bytes]) -> str:
    """Return why a file is no picture, or nothing if it is one by its suffix or its first bytes."""
    if is_hidden(name):
        return "hidden"
    suffix = posixpath.splitext(name)[1].lower()
    if suffix in SUFFIXES or has_signature(header()):
        return ""
    return f"not a picture ({printable_name(suffix)})" if suffix else "not a picture"


class ZipPictures:
    """The pictures of one zip by index, in the archive's order."""

    labels: NDArray[np.int64] | None = None

    def __init__(self, path: Path, caps: Caps = Caps()) -> None:
        """Raises: GanealogyError if the archive is unsafe (see `members`) or has no pictures."""
        self.path = path
        self.archive = open_zip(path)
        self.infos: list[zipfile.ZipInfo] = []
        self.passed_over: list[tuple[str, str]] = []
        """Other files in the archive: (name, reason)."""
        for info in members(self.archive, path, caps):
            if reason := why_not(_slashes(info.filename), lambda info=info: self._header(info)):  # type: ignore[misc]
                self.passed_over.append((_shown(info), reason))
            else:
                self.infos.append(info)
        if not self.infos:
            raise GanealogyError(f"{path}: no pictures in it; add {', '.join(SUFFIXES)} files")

    def __len__(self) -> int:
        return len(self.infos)

    def name(self, index: int) -> str:
        """Return the path in the archive, with `/` and in printable characters."""
        return _shown(self.infos[index])

    def _header(self, info: zipfile.ZipInfo) -> bytes:
        try:
            with self.archive.open(info) as member:
                return member.read(SIGNATURE_BYTES)
        except DAMAGE:
            return b""

    def read(self, index: int) -> bytes:
        """Return the encoded picture. Raises: Rejected if the member is damaged."""
        info = self.infos[index]
        try:
            with self.archive.open(info) as member:
                return member.read(info.file_size)  # zipfile stops at the declared size and checks the CRC
        except DAMAGE as error:
            raise Rejected(f"damaged in the archive: {error}") from None


def open_tar(path: Path) -> IO[bytes] | None:
    """Return the unpacked bytes of a tar archive, compressed or not; None if the file is none."""
    with open(path, "rb") as plain:
        start = plain.read(SIGNATURE_BYTES)
    opened = next((opener for magic, opener in COMPRESSIONS.items() if start.startswith(magic)), open)
    file = cast(IO[bytes], opened(path, "rb"))
    try:
        header = file.read(tarfile.BLOCKSIZE)
    except DAMAGE:
        header = b"damaged"
    is_named_so = (
        header and not start.startswith(tuple(OTHER_FORMATS)) and TAR_SUFFIXES & {*map(str.lower, path.suffixes)}
    )
    if header[257:262] == b"ustar" or is_named_so:  # the oldest tars have no mark
        file.seek(0)
        return file
    file.close()
    return None


class TarPictures:
    """The pictures of a tar archive, compressed or not, in its order: (printable name, content)."""

    def __init__(self, path: Path, file: IO[bytes], caps: Caps = Caps()) -> None:
        """`file`: of `open_tar`."""
        self.path, self.file, self.caps = path, file, caps
        self.passed_over: list[tuple[str, str]] = []
        """Other files in the archive: (name, reason). Complete after the iteration."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Raises: GanealogyError for a damaged archive, or a member that `members` would refuse in a zip."""
        caps, names, total = self.caps, set[str](), 0
        allowed = min(caps.total_bytes, caps.ratio * max(self.path.stat().st_size, 2**20))
        try:
            with tarfile.open(fileobj=cast(IO[bytes], _Capped(self.file, caps.member_bytes)), mode="r:") as archive:
                for member in archive:
                    total += member.size
                    if fault := self._fault(member, names):
                        raise _refused(self.path, f"member {member.name!r}: {fault}")
                    if total > allowed or len(names) >= caps.members:
                        raise _refused(self.path, f"it unpacks to over {allowed:,} bytes or {caps.members:,} members")
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep all
                    file = archive.extractfile(member)
                    if file is None:
                        continue
                    names.add(member.name)
                    header = file.read(SIGNATURE_BYTES)
                    if reason := why_not(member.name, lambda header=header: header):  # type: ignore[misc]
                        self.passed_over.append((printable_name(member.name), reason))
                    else:
                        yield printable_name(member.name), header + file.read()
        except DAMAGE as error:
            raise GanealogyError(f"{self.path}: not a whole tar archive ({error}); {ADVICE}") from None

    def _fault(self, member: tarfile.TarInfo, names: set[str]) -> str:
        if _leaves(member.name):
            return "its name leaves the archive"
        if not (member.isreg() or member.isdir()):
            return "it is a link or a device, not a file"
        if member.size > self.caps.member_bytes:
            return f"{member.size:,} bytes, more than the {self.caps.member_bytes:,} that are allowed"
        return "its name comes twice" if member.name in names else ""


def read_members(path: Path, names: Collection[str], most: int) -> dict[str, bytes]:
    """Return name → content of the named files of a tar archive, compressed or not; others are passed over.

    Raises: GanealogyError if the archive is absent or damaged, or one of them is absent, no file or above `most` bytes.
    """
    found: dict[str, bytes] = {}
    try:
        with (
            open_tar(path) or open(path, "rb") as file,
            tarfile.open(fileobj=cast(IO[bytes], _Capped(file, most)), mode="r:") as archive,
        ):
            for member in archive:
                if member.name in names and member.isreg() and member.size <= most:
                    content = archive.extractfile(member)
                    assert content is not None  # of a plain file
                    found[member.name] = content.read()
    except DAMAGE as error:  # also where there is no such file
        raise GanealogyError(f"{path}: not a whole tar archive ({error}); run `dvc repro download`") from None
    if missing := [name for name in names if name not in found]:
        raise GanealogyError(f"{path}: {missing[0]} is absent, or larger than {most:,} bytes; run `dvc repro download`")
    return found


class _Capped:
    """A file that refuses to read much at once, as tarfile would for a member that declares a long name."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.file, self.most = file, most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.most + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)

    def seek(self, position: int) -> int:
        return self.file.seek(position)

    def tell(self) -> int:
        return self.file.tell()


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
