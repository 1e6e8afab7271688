"""The user's own pictures: a directory (with its subdirectories), a zip or a tar archive, packed as one zip.

Folders are classes: see `names.class_folders`.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from ganealogy.data.archives import Caps, TarPictures, ZipPictures, is_hidden, open_tar, why_not, write_stored
from ganealogy.data.fetch import Remote, copy, from_root
from ganealogy.data.names import class_folders, printable_name
from ganealogy.data.pictures import SIGNATURE_BYTES, SUFFIXES
from ganealogy.data.user_files import check_path
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.record_types import DatasetSettings
from ganealogy.runtime.progress import track

INPUTS = ("path",)
ARCHIVE = "pictures.zip"
PASSED_OVER = "passed-over.csv"
"""Files of a directory or tar archive that are no pictures: name, reason."""
ARCHIVES = (ARCHIVE, PASSED_OVER)
KEY = "dataset.path"


class NoPicturesError(GanealogyError):
    """There are no pictures at the path on this machine."""


def credit(settings: DatasetSettings) -> dict[str, str]:
    name = from_root(settings.get("path") or "").name
    title = f"Your own pictures: {printable_name(name)}"
    return {"title": title, "artist": "", "licence": "their licence is yours to state", "licence_url": "", "url": ""}


def files(path: str | None) -> list[tuple[str, Path]]:
    """Return the pictures as (name, path), or the archive alone, as ("", path).

    Raises: NoPicturesError if there are none; GanealogyError for a path that stages use, or an unreadable folder.
    """
    root = existing(path)
    return [("", root)] if root.is_file() else _walk(root)[0]


def classes(files: list[tuple[str, Path]]) -> int:
    """Return the number of class folders among what `files` returned; 0 without.

    Raises: GanealogyError for an archive that is unsafe or has no pictures.
    """
    names = [name for name, _path in files]
    if names == [""]:
        archive = files[0][1]
        if tar := open_tar(archive):
            with tar:
                names = [name for name, _content in _some(TarPictures(archive, tar), archive)]
        else:
            pictures = ZipPictures(archive)
            names = [pictures.name(index) for index in range(len(pictures))]
    found = class_folders(names)
    return len(found[0]) if found else 0


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Write pictures.zip to `raw`: a checked copy of the user's zip, or a new one of a directory or tar archive.

    Return its name, and that of the list of other files if there are any.

    Raises: GanealogyError if the path is absent, unreadable, unsafe, or has no pictures.
    """
    root = existing(settings.get("path"))
    target = raw / ARCHIVE
    if root.is_dir():
        found, passed_over = _walk(root)
        with atomic.writing(target) as file:
            write_stored(file, track(_contents(found), "packing pictures", len(found), "pictures"))
    elif tar := open_tar(root):
        pictures = TarPictures(root, tar)
        with tar, atomic.writing(target) as file:
            write_stored(file, track(_some(pictures, root), "packing pictures", 0, "pictures"))
        passed_over = pictures.passed_over
    else:
        ZipPictures(root).archive.close()
        copy(Remote(ARCHIVE, ()), root, target)
        return [ARCHIVE]
    if not passed_over:
        return [ARCHIVE]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(passed_over))
    atomic.write_text(raw / PASSED_OVER, text.getvalue())
    return [ARCHIVE, PASSED_OVER]


class OwnPictures(ZipPictures):
    """The user's pictures, with their class folders as labels."""

    def __init__(self, files: list[Path]) -> None:
        by_name = {file.name: file for file in files}
        super().__init__(by_name[ARCHIVE])
        found = class_folders([self.name(index) for index in range(len(self))])
        self.classes, self.labels = found or ([], None)
        if PASSED_OVER in by_name:
            with open(by_name[PASSED_OVER], encoding="utf-8", newline="") as file:
                self.passed_over = [(row[0], row[-1]) for row in csv.reader(file)]


def pictures(files: list[Path]) -> OwnPictures:
    return OwnPictures(files)


def existing(path: str | Path | None) -> Path:
    """Return the user's directory or archive.

    Raises: NoPicturesError if it is absent; GanealogyError as `check_path`.
    """
    root = from_root(path) if path else Path()
    if not path or not (root.is_dir() or root.is_file()):
        shown = printable_name(str(path or ""))
        raise NoPicturesError(
            f"{KEY} = {shown!r}: no such directory or zip or tar archive; name the folder of your pictures"
        )
    return check_path(root, KEY)


def _walk(root: Path) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """Return the pictures below `root` as (printable name, file), sorted by name, and the rest as (name, reason).

    Raises: NoPicturesError if there are no pictures; GanealogyError for an unreadable folder.
    """

    def refuse(error: OSError) -> None:
        raise _unreadable(error.filename, error)

    pictures, passed_over = [], []
    for folder, folders, names in os.walk(root, onerror=refuse):
        for name in names:
            file = Path(folder, name)
            inside = printable_name(file.relative_to(root).as_posix())
            reason = _why_not(inside, file)
            if reason:
                passed_over.append((inside, reason))
            else:
                pictures.append((inside, file))
        for name in folders:
            file = Path(folder, name)
            if is_hidden(name) or file.is_symlink():
                reason = "a link to a folder" if file.is_symlink() else "a hidden folder"
                passed_over.append((printable_name(file.relative_to(root).as_posix()), reason))
        folders[:] = [name for name in folders if not is_hidden(name)]
    if not pictures:
        raise _no_pictures(root)
    return sorted(pictures), passed_over


def _why_not(name: str, file: Path) -> str:
    if not file.is_file():
        return "not a file"
    if file.stat().st_size > Caps.member_bytes:
        return f"over {Caps.member_bytes // 2**20} MiB"
    return why_not(name, lambda: _header(file))


def _some(pictures: TarPictures, root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the pictures. Raises: NoPicturesError if there are none."""
    found = False
    for entry in pictures:
        found = True
        yield entry
    if not found:
        raise _no_pictures(root)


def _no_pictures(root: Path) -> NoPicturesError:
    return NoPicturesError(f"{KEY} = {printable_name(str(root))!r}: no pictures in it; add {', '.join(SUFFIXES)} files")


def _header(file: Path) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(SIGNATURE_BYTES)
    except OSError as error:
        raise _unreadable(file, error) from None


def _contents(files: list[tuple[str, Path]]) -> Iterator[tuple[str, bytes]]:
    for name, file in files:
        try:
            yield name, file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from None


def _unreadable(path: Path | str, error: OSError) -> GanealogyError:
    return GanealogyError(
        f"{printable_name(str(path))}: cannot be read ({error.strerror}); fix its permissions or move it elsewhere"
    )
