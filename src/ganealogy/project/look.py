"""Look at a person's pictures before a project is made of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ganealogy.data.archives import TarPictures, ZipPictures, open_tar
from ganealogy.data.names import class_folders
from ganealogy.data.pictures import Rejected, decode
from ganealogy.data.sources import folder
from ganealogy.errors import GanealogyError

Item = TypeVar("Item")

DECODED = 300
"""Pictures that are decoded, evenly over all of them; of a tar archive the first."""
GREY_LEVELS = 8
"""The most by which a grey picture's colours may differ: JPEG rounds each of them."""


@dataclass(frozen=True)
class Look:
    """What pictures are like. Sizes and colours are of the decoded ones."""

    count: int
    classes: tuple[str, ...]
    """Names of class folders."""
    decoded: int
    rejected: int
    """Those of the examined that cannot be decoded."""
    short_side: int
    """Median, in pixels."""
    smallest: int
    """Short side of the smallest, in pixels."""
    square: bool
    """Whether nine of ten have sides that differ by less than 5 %."""
    grey: bool

    def sentence(self) -> str:
        """Return such as `1,200 pictures in 2 class folders (cats, dogs), colour, short side 128 (64 and more)`."""
        folders = ""
        if self.classes:
            shown = ", ".join(self.classes[:5]) + (", …" if len(self.classes) > 5 else "")
            folders = f" in {len(self.classes)} class folders ({shown})"
        size = f"short side {self.short_side}" + (
            f" ({self.smallest} and more)" if self.smallest < self.short_side else ""
        )
        broken = f", {self.rejected} of {self.decoded + self.rejected} examined unreadable" if self.rejected else ""
        shape = "" if self.square else ", not square"
        return f"{self.count:,} pictures{folders}, {'grey' if self.grey else 'colour'}, {size}{shape}{broken}"


def look(path: str | Path) -> Look:
    """Count the pictures of a directory or archive, and decode some.

    Raises: GanealogyError if there are no pictures, none can be decoded, or an archive is unsafe.
    """
    names, contents = _open(str(path))
    sides, ratios, grey, rejected = [], [], [], 0
    for content in contents:
        try:
            image = decode(content)
        except Rejected:
            rejected += 1
            continue
        sides.append(min(image.size))
        ratios.append(max(image.size) / min(image.size))
        grey.append(_is_grey(image))
    if not sides:
        raise GanealogyError(f"{path}: none of its pictures can be decoded; name a folder of PNG or JPEG files")
    found = class_folders(names)
    return Look(
        count=len(names),
        classes=tuple(found[0]) if found else (),
        decoded=len(sides),
        rejected=rejected,
        short_side=int(statistics.median_low(sides)),
        smallest=min(sides),
        square=sum(ratio < 1.05 for ratio in ratios) >= 0.9 * len(ratios),
        grey=all(grey),
    )


def _open(path: str) -> tuple[list[str], Iterator[bytes]]:
    """Return the names of all pictures, and the contents of some."""
    files = folder.files(path)
    if files[0][0]:
        return [name for name, _ in files], (_read(file) for _, file in _some(files))
    archive = files[0][1]
    if tar := open_tar(archive):
        names: list[str] = []
        contents: list[bytes] = []
        with tar:
            for name, content in TarPictures(archive, tar):
                names.append(name)
                if len(contents) < DECODED:
                    contents.append(content)
        return names, iter(contents)
    pictures = ZipPictures(archive)
    names = [pictures.name(index) for index in range(len(pictures))]
    return names, (_member(pictures, index) for index in _some(range(len(pictures))))


def _some(items: Sequence[Item]) -> list[Item]:
    return list(items[:: max(1, len(items) // DECODED)])[:DECODED]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise GanealogyError(f"{file}: cannot be read ({error.strerror}); fix its permissions or move it") from None


def _member(pictures: ZipPictures, index: int) -> bytes:
    try:
        return pictures.read(index)
    except Rejected:
        return b""


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    pixels = np.asarray(image.resize((32, 32))).astype(np.int16)
    return int(np.ptp(pixels, axis=2).max()) <= GREY_LEVELS
