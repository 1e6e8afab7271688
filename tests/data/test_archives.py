"""Hostile zips are refused with a one-line error before any byte is unpacked."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ganealogy.data.archives import Caps, ZipPictures, write_stored
from ganealogy.data.pictures import Rejected
from ganealogy.errors import GanealogyError


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, "PNG")
    return file.getvalue()


def hostile(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about a repeated name
        for info, content in members:
            archive.writestr(info, content)
    return path


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o644) << 16
    return info


def encrypted(path: Path) -> Path:
    """Set the encryption flag in both headers, because zipfile cannot encrypt."""
    content = bytearray(hostile(path, ("a.png", png())).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.index(signature) + offset
        content[at] |= 1
    path.write_bytes(content)
    return path


def understated(path: Path) -> Path:
    """A member that declares 10 bytes and unpacks to 4 MiB."""
    hostile(path, ("a.png", bytes(4 * 2**20)), method=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.index(signature) + offset, 10)
    path.write_bytes(content)
    return path


def overlapping(path: Path) -> Path:
    """Two names for one member's bytes, as in bombs whose members are harmless one by one."""
    content = hostile(path, ("a.png", png())).read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entry = content[start:end]
    twice = entry + entry.replace(b"a.png", b"b.png")
    tail = bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, 2, 2, len(twice))
    path.write_bytes(content[:start] + twice + tail)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "climbs out": (lambda p: hostile(p, ("../evil.png", png())), "leaves the archive"),
    "climbs in the middle": (lambda p: hostile(p, ("a/../../evil.png", png())), "leaves the archive"),
    "absolute": (lambda p: hostile(p, ("/etc/evil.png", png())), "leaves the archive"),
    "a drive": (lambda p: hostile(p, ("C:/evil.png", png())), "leaves the archive"),
    "a drive with a backslash": (lambda p: hostile(p, ("C:\\evil.png", png())), "leaves the archive"),
    "a share": (lambda p: hostile(p, ("\\\\host\\evil.png", png())), "leaves the archive"),
    "backslashes": (lambda p: hostile(p, ("..\\evil.png", png())), "leaves the archive"),
    "a link": (lambda p: hostile(p, (special("a.png", stat.S_IFLNK), b"/etc/passwd")), "a link or a device"),
    "a device": (lambda p: hostile(p, (special("a.png", stat.S_IFCHR), b"")), "a link or a device"),
    "a pipe": (lambda p: hostile(p, (special("a.png", stat.S_IFIFO), b"")), "a link or a device"),
    "a name twice": (lambda p: hostile(p, ("a.png", png()), ("a.png", png("blue"))), "comes twice"),
    "encrypted": (encrypted, "encrypted"),
    "a bomb": (lambda p: hostile(p, ("a.png", bytes(8 * 2**20)), method=zipfile.ZIP_DEFLATED), "zip bomb"),
    "a bomb beside pictures": (
        lambda p: hostile(p, ("a.png", png()), ("x.bin", bytes(8 * 2**20)), method=zipfile.ZIP_BZIP2),
        "zip bomb",
    ),
    "overlapping members": (overlapping, "overlap"),
    "no zip": (lambda p: written(p, b"<html>no</html>"), "not a whole zip"),
    "cut short": (lambda p: written(p, hostile(p, ("a.png", png())).read_bytes()[:-30]), "not a whole zip"),
    "no pictures": (lambda p: hostile(p, ("a.txt", b"text"), ("__MACOSX/._a.png", b"")), "no pictures in it"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_zip_is_refused(tmp_path: Path, attack: str) -> None:
    make, reason = ATTACKS[attack]
    path = make(tmp_path / "hostile.zip")
    with pytest.raises(GanealogyError, match=reason) as caught:
        ZipPictures(path)
    assert "hostile.zip" in str(caught.value) and "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hostile.zip"]


@pytest.mark.parametrize(
    ("caps", "reason"),
    [
        (Caps(members=1), "2 members"),
        (Caps(member_bytes=10), "bytes, more than the 10"),
        (Caps(total_bytes=100), "unpacks to"),
    ],
)
def test_an_archive_above_a_limit_is_refused(tmp_path: Path, caps: Caps, reason: str) -> None:
    with pytest.raises(GanealogyError, match=reason):
        ZipPictures(hostile(tmp_path / "x.zip", ("a.png", png()), ("b.png", png("blue"))), caps)


def test_a_member_larger_than_declared_is_rejected_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="damaged"):
        ZipPictures(understated(tmp_path / "x.zip")).read(0)


def test_a_flipped_bit_rejects_that_picture_alone(tmp_path: Path) -> None:
    path = hostile(tmp_path / "x.zip", ("a.png", png()), ("b.png", png("blue")))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 1
    path.write_bytes(content)
    pictures = ZipPictures(path)
    with pytest.raises(Rejected, match="CRC"):
        pictures.read(0)
    assert pictures.read(1) == png("blue")


def test_only_pictures_are_read_in_the_zips_order(tmp_path: Path) -> None:
    path = hostile(
        tmp_path / "x.zip",
        ("set/", b""),
        ("set/b.PNG", png()),
        ("set/readme.txt", b"text"),
        ("__MACOSX/set/._b.png", b"fork"),
        ("set/.hidden.png", b"no"),
        ("set/.png", b"a name, and no suffix"),
        (".", b"no name at all"),
        ("./set/a.jpeg", png("blue")),
    )
    pictures = ZipPictures(path)
    assert [pictures.name(index) for index in range(len(pictures))] == ["set/b.PNG", "./set/a.jpeg"]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    files = []
    for _ in range(2):
        file = io.BytesIO()
        write_stored(file, [("a.png", png()), ("ü/b.png", png("blue"))])
        files.append(file.getvalue())
    assert files[0] == files[1]
    (tmp_path / "x.zip").write_bytes(files[0])
    assert ZipPictures(tmp_path / "x.zip").name(1) == "ü/b.png"
