"""What `ganealogy init` sees in a person's pictures."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.project.look import Look, look


def picture(path: Path, width: int, height: int, colour: tuple[int, int, int] = (200, 30, 90)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures in two class folders, one of them damaged, and a text file."""
    place = tmp_path / "my pictures"
    for index, (width, height) in enumerate([(40, 30), (60, 80), (64, 64)]):
        picture(place / "cats" / f"{index}.png", width, height)
        picture(place / "dogs" / f"{index}.jpg", width + 10, height + 10)
    (place / "dogs" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    (place / "notes.txt").write_text("no picture")
    return place


def test_it_counts_and_measures_a_directory(folder: Path) -> None:
    seen = look(folder)
    assert (seen.count, seen.classes, seen.decoded, seen.rejected) == (7, ("cats", "dogs"), 6, 1)
    assert (seen.short_side, seen.smallest) == (60, 30)  # of 30, 40, 60, 64, 70, 74: the lower median
    assert not seen.grey and not seen.square
    assert seen.sentence() == (
        "7 pictures in 2 class folders (cats, dogs), colour, short side 60 (30 and more), not square, "
        "1 of 7 examined unreadable"
    )


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_a_directory_looks_the_same(folder: Path, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"pictures.{kind}"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as written:
            for path in files:
                written.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w") as written:
            for path in files:
                written.add(path, path.relative_to(folder))
    assert look(archive) == look(folder)


def test_grey_pictures_stay_grey_through_jpeg(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    place = tmp_path / "grey"
    place.mkdir()
    Image.fromarray(levels).convert("RGB").save(place / "1.jpg", quality=60)
    Image.fromarray(levels).save(place / "2.png")
    assert look(place).grey
    coloured = np.stack([levels, levels, 255 - levels], axis=2)
    Image.fromarray(coloured).save(place / "3.png")
    assert not look(place).grey


def test_square_pictures_without_folders_have_no_classes(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / "flat" / f"{index}.png", 32, 32)
    seen = look(tmp_path / "flat")
    assert (seen.square, seen.classes, seen.sentence()) == (True, (), "3 pictures, colour, short side 32")


def test_only_some_of_many_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganealogy.project.look.DECODED", 5)
    for index in range(23):
        picture(tmp_path / "many" / f"{index:02}.png", 20 + index, 20 + index)
    seen = look(tmp_path / "many")
    assert (seen.count, seen.decoded) == (23, 5)
    assert seen.short_side == 28  # of 20, 24, 28, 32, 36: evenly spread, not the first five


def test_no_usable_picture_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "damaged"
    place.mkdir()
    (place / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(GanealogyError, match="none of its pictures can be decoded"):
        look(place)
    with pytest.raises(GanealogyError, match="no such directory or zip or tar archive"):
        look(tmp_path / "absent")


def test_a_truncated_member_of_a_zip_counts_as_unreadable(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(content, "PNG")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("whole.png", content.getvalue())
        archive.writestr("half.png", content.getvalue()[:40])
    seen = look(tmp_path / "p.zip")
    assert isinstance(seen, Look) and (seen.count, seen.decoded, seen.rejected) == (2, 1, 1)
