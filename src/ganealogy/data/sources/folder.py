"""The user's own pictures: a directory (with its subdirectories) or a zip, packed as one archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ganealogy.data.archives import Caps, ZipPictures, is_picture, write_stored
from ganealogy.data.fetch import Remote, copy, from_root
from ganealogy.data.pictures import SUFFIXES
from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import writing
from ganealogy.record_types import DatasetSettings
from ganealogy.runtime.progress import track

INPUTS = ("path",)
CREDIT = {"title": "Your own pictures", "artist": "", "licence": "yours to state", "licence_url": "", "url": ""}
ARCHIVE = "pictures.zip"


def credit(settings: DatasetSettings) -> dict[str, str]:
    return dict(CREDIT)


def files(path: str | None) -> list[tuple[str, Path]]:
    """Return the pictures as (name, path), or the zip. Raises: GanealogyError if there is nothing at `path`."""
    root = _existing(path)
    return [("", root)] if root.is_file() else _walk(root)


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Write pictures.zip to `raw`, a checked copy of the user's zip or a new one of the directory; return its name.

    Raises: GanealogyError if the path is absent, unreadable, unsafe, or has no pictures.
    """
    root = _existing(settings.get("path"))
    target = raw / ARCHIVE
    if root.is_file():
        ZipPictures(root).archive.close()
        copy(Remote(ARCHIVE, ()), root, target)
        return [ARCHIVE]
    files = _walk(root)
    if not files:
        raise GanealogyError(f"dataset.path = {str(root)!r}: no pictures in it; add {', '.join(SUFFIXES)} files")
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
    """Return the pictures below `root` as (name in the archive, file), sorted by name."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error.filename, error)

    pictures = []
    for folder, _folders, names in os.walk(root, onerror=refuse):
        for name in names:
            file = Path(folder, name)
            inside = file.relative_to(root).as_posix()
            if is_picture(inside) and file.is_file():
                pictures.append((inside.encode("utf-8", "backslashreplace").decode(), file))
    return sorted(pictures)


def _contents(files: list[tuple[str, Path]]) -> Iterator[tuple[str, bytes]]:
    for name, file in files:
        try:
            if file.stat().st_size > Caps.member_bytes:
                limit = Caps.member_bytes // 2**20
                raise GanealogyError(f"{file}: over {limit} MiB, too large for a picture; move it elsewhere")
            yield name, file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from None


def _unreadable(path: Path | str, error: OSError) -> GanealogyError:
    return GanealogyError(f"{path}: cannot be read ({error.strerror}); fix its permissions or move it elsewhere")
