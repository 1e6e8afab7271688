"""The user's own pictures: a directory (with its subdirectories) or a zip, taken as one archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganealogy.data.archives import Caps, ZipPictures, is_picture, write_stored
from ganealogy.data.fetch import Remote, copy, from_root
from ganealogy.data.pictures import SUFFIXES
from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import digest, writing
from ganealogy.runtime.progress import track

NATIVE_CHANNELS = 3
INPUTS = ("path",)
CREDIT = {
    "title": "Your own pictures",
    "artist": "",
    "licence": "yours to state",
    "licence_url": "",
    "url": "",
}
ARCHIVE = "pictures.zip"


def credit(settings: dict[str, Any]) -> dict[str, str]:
    return dict(CREDIT)


def listing(path: str | Path) -> str:
    """A digest of names, sizes and modification times: changes when the pictures do, and reads none of them.

    Raises: GanealogyError when there is nothing at `path`.
    """
    root = _existing(path)
    files = [("", root)] if root.is_file() else _walk(root)
    return digest([[name, status.st_size, status.st_mtime_ns] for name, file in files for status in [file.stat()]])


def fetch(settings: dict[str, Any], raw: Path, mirror: Path | None) -> list[str]:
    """Leave data/raw/pictures.zip: the user's zip once it is found safe, or a new one of the directory's pictures.

    Raises: GanealogyError when the path is absent, unreadable, unsafe, or holds no pictures.
    """
    root = _existing(settings.get("path"))
    target = raw / ARCHIVE
    if root.is_file():
        ZipPictures(root).archive.close()
        copy(Remote(ARCHIVE, ()), root, target)
        return [ARCHIVE]
    files = _walk(root)
    if not files:
        raise GanealogyError(f"dataset.path = {str(root)!r}: no pictures in it; looked for {', '.join(SUFFIXES)}")
    with writing(target) as file:
        write_stored(file, track(_contents(files), "packing pictures", len(files), "pictures"))
    return [ARCHIVE]


def pictures(files: list[Path]) -> ZipPictures:
    return ZipPictures(files[0])


def _existing(path: str | Path | None) -> Path:
    root = from_root(path) if path else Path()
    if not path or not (root.is_dir() or root.is_file()):
        shown = str(path or "")
        raise GanealogyError(f"dataset.path = {shown!r}: no such directory or zip; name the folder of your pictures")
    return root


def _walk(root: Path) -> list[tuple[str, Path]]:
    """Pictures below `root` as (name in the archive, file), sorted by name whatever order the file system has."""

    def complain(error: OSError) -> None:
        raise GanealogyError(f"{error.filename}: cannot be read ({error.strerror}); mend it or move it out") from None

    found = []
    for folder, _folders, names in os.walk(root, onerror=complain):
        for name in names:
            file = Path(folder, name)
            inside = file.relative_to(root).as_posix()
            if is_picture(inside) and file.is_file():
                found.append((inside.encode("utf-8", "backslashreplace").decode(), file))
    return sorted(found)


def _contents(files: list[tuple[str, Path]]) -> Iterator[tuple[str, bytes]]:
    for name, file in files:
        try:
            if file.stat().st_size > Caps.member_bytes:
                limit = Caps.member_bytes // 2**20
                raise GanealogyError(f"{file}: over {limit} MiB, too large for a picture; move it out")
            yield name, file.read_bytes()
        except OSError as error:
            raise GanealogyError(f"{file}: cannot be read ({error.strerror}); mend it or move it out") from None
