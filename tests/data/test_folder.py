"""The user's own pictures: any file name, archives of several kinds, what is passed over, and class folders."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganealogy.data.archives import Caps, TarPictures, open_tar
from ganealogy.data.download import download
from ganealogy.data.packed import open_labels, open_split
from ganealogy.data.preprocess import preprocess
from ganealogy.data.sources import folder
from ganealogy.errors import GanealogyError


def picture(seed: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def settings(path: Path | str) -> Any:
    given = {"name": "folder", "path": str(path), "image_size": 16, "channels": 3, "fit": "crop", "count": None}
    return {**given, "holdout": 0.3, "max_rejected": 0.1, "mirror": None}


def filled(root: Path, names: list[str | bytes], start: int = 0) -> Path:
    for index, name in enumerate(names):
        path = os.path.join(os.fsencode(root), os.fsencode(name))  # noqa: PTH118  # bytes
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:
            file.write(picture(start + index))
    return root


def packed(path: Path | str, work: Path) -> Any:
    """Download and preprocess a folder or archive into `work`; return the manifest."""
    shutil.rmtree(work, ignore_errors=True)
    download(settings(path), work / "raw")
    return preprocess(settings(path), work / "raw", work / "packed")


def left_out(work: Path) -> dict[str, str]:
    with open(work / "packed/left-out.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: row["reason"] for row in csv.DictReader(file)}


PLAIN: list[str | bytes] = [f"{index}.png" for index in range(12)]

# --- Names -----------------------------------------------------------------------------------------------------------

ODD: dict[str, str | bytes] = {
    "a colon": "t:01.png",
    "a newline": "new\nline.png",
    "a backslash": "a\\b.png",
    "a backslash that climbs": "x\\..\\..\\up.png",
    "no UTF-8": b"\xff\xfe.png",
    "an emoji": "😀.png",
    "a trailing space": "trailing.png ",
    "a trailing dot": "trailing.png.",
    "escape codes": "\x1b[2Jesc.png",
    "a folder with a colon": "C:/1.png",
    "very long": "x" * 251 + ".png",
    "deep": "/".join(["d" * 40] * 20) + "/1.png",
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_any_name_of_the_file_system_is_packed_and_shown_printable(case: str, form: str, tmp_path: Path) -> None:
    root = filled(tmp_path / "mine", [*PLAIN, ODD[case]])
    if form == "tar":
        with tarfile.open(tmp_path / "mine.tar", "w") as archive:
            archive.add(root, ".")
    assert packed(root if form == "folder" else tmp_path / "mine.tar", tmp_path / "w")["counts"]["found"] == 13
    with zipfile.ZipFile(tmp_path / "w/raw/pictures.zip") as archive:
        assert all(name.isprintable() for name in archive.namelist())


def test_a_picture_with_an_odd_name_is_named_when_it_is_left_out(tmp_path: Path) -> None:
    root = filled(tmp_path / "mine", PLAIN)
    (root / "t:01\n.png").write_bytes(b"no picture")
    shutil.copy(root / "0.png", root / "z\\again.png")
    manifest = packed(root, tmp_path / "w")
    assert manifest["rejected"] == [{"name": "t%3A01%0A.png", "reason": "not a picture in a known format"}]
    assert left_out(tmp_path / "w")["z%5Cagain.png"] == "the same pixels as 0.png"


# --- Archives --------------------------------------------------------------------------------------------------------


def zipped(root: Path, target: Path, separator: str = "/") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            archive.writestr(path.relative_to(root).as_posix().replace("/", separator), path.read_bytes())
    return target


def tarred(mode: str) -> Callable[[Path, Path], Path]:
    def write(root: Path, target: Path) -> Path:
        with tarfile.open(target, mode) as archive:  # type: ignore[call-overload]
            archive.add(root, "photos")
        return target

    return write


ARCHIVES: dict[str, Callable[[Path, Path], Path]] = {
    "photos.zip": zipped,
    "PHOTOS.ZIP": zipped,
    "no suffix": zipped,
    "of Windows.zip": lambda root, target: zipped(root, target, "\\"),
    "photos.tar": tarred("w"),
    "photos.tar.gz": tarred("w:gz"),
    "photos.tgz": tarred("w:gz"),
    "photos.TAR.BZ2": tarred("w:bz2"),
    "photos.tar.xz": tarred("w:xz"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_what_its_folder_gives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = filled(tmp_path / "photos", [f"{kind}/{index}.png" for kind in ("cats", "dogs") for index in range(8)])
    expected = packed(root, tmp_path / "one")
    ARCHIVES[name](root, tmp_path / name)
    found = packed(tmp_path / name, tmp_path / "two")
    assert found["dataset"] == expected["dataset"] and found["classes"] == ["cats", "dogs"]
    assert folder.classes(folder.files(str(tmp_path / name))) == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder.existing(f"~/{name}") == tmp_path / name


def test_a_tilde_may_be_the_name_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(filled(tmp_path, ["~nobody-of-this-name/1.png"]))
    assert len(folder.files("~nobody-of-this-name")) == 1


NO_ARCHIVES: dict[str, tuple[bytes, str]] = {
    "photos.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive, which is not supported: unpack it"),
    "photos.rar": (b"Rar!\x1a\x07\x01\0" + bytes(99), "a RAR archive, which is not supported: unpack it"),
    "photos.tar.zst": (b"\x28\xb5\x2f\xfd" + bytes(99), "a Zstandard archive, which is not supported: unpack it"),
    "photo.png": (picture(0), "a single picture"),
    "photos.zip": (b"<html>", "not a whole zip archive"),
    "photos.txt.gz": (gzip.compress(b"text"), "not a whole zip archive"),
    "empty.zip": (b"", "not a whole zip archive"),
}


@pytest.mark.parametrize("name", NO_ARCHIVES)
def test_what_is_no_archive_is_described_and_a_folder_of_its_pictures_helps(name: str, tmp_path: Path) -> None:
    content, fault = NO_ARCHIVES[name]
    (tmp_path / name).write_bytes(content)
    for attempt in (
        lambda: folder.classes(folder.files(str(tmp_path / name))),
        lambda: packed(tmp_path / name, tmp_path / "w"),
    ):
        with pytest.raises(GanealogyError, match=fault) as caught:
            attempt()
        assert "delete" not in str(caught.value) and "name a folder of pictures" in str(caught.value)
    assert (tmp_path / name).read_bytes() == content
    assert packed(filled(tmp_path / "photos", PLAIN), tmp_path / "w")["counts"]["found"] == 12


def hostile(path: Path, **changed: Any) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in ("a.png", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(0))
            for key, value in changed.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(bytes(info.size) if info.size > 10**6 else picture(0)))
    return path


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"name": "../evil.png"}, "leaves the archive"),
        ({"name": "/etc/evil.png"}, "leaves the archive"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, "a link or a device"),
        ({"type": tarfile.LNKTYPE, "linkname": "/etc/passwd", "size": 0}, "a link or a device"),
        ({"type": tarfile.FIFOTYPE, "size": 0}, "a link or a device"),
        ({"name": "twice.png"}, "comes twice"),
        ({"size": 300 * 2**20}, "more than the 268,435,456"),
        ({"size": 150 * 2**20}, "unpacks to over"),
    ],
)
def test_a_hostile_tar_is_refused_as_a_zip_is(changed: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = hostile(tmp_path / "x.tar.gz", **changed)
    with pytest.raises(GanealogyError, match=fault):
        packed(path, tmp_path / "w")
    assert not list((tmp_path / "w/raw").iterdir()) and not list(tmp_path.rglob("evil.png"))


def test_a_tar_header_that_declares_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**40
    header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(header + bytes(10_000))
    with pytest.raises(GanealogyError, match="not a whole tar archive"):
        packed(tmp_path / "x.tar", tmp_path / "w")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_a_damaged_tar_is_one_line(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    plain = tarred("w")(filled(tmp_path / "photos", PLAIN), tmp_path / "x").read_bytes()
    content = pack(plain)
    (tmp_path / "x.tar").write_bytes(content[: len(content) // 2])
    with pytest.raises(GanealogyError, match="not a whole tar archive") as caught:
        packed(tmp_path / "x.tar", tmp_path / "w")
    assert "\n" not in str(caught.value) and not list((tmp_path / "w/raw").iterdir())


def test_a_tar_above_the_members_is_refused(tmp_path: Path) -> None:
    path = tarred("w")(filled(tmp_path / "photos", PLAIN), tmp_path / "x.tar")
    file = open_tar(path)
    assert file is not None
    with file, pytest.raises(GanealogyError, match="3 members"):
        list(TarPictures(path, file, Caps(members=3)))


# --- What is passed over ---------------------------------------------------------------------------------------------


def test_what_pillow_reads_is_accepted_and_the_rest_is_counted_and_listed(tmp_path: Path) -> None:
    root = filled(tmp_path / "mine", PLAIN)
    accepted = {"a.jfif": "JPEG", "b.jpe": "JPEG", "c.dib": "DIB", "no suffix": "PNG", "d.txt": "WEBP", "e.PNG ": "PNG"}
    for seed, (name, kind) in enumerate(accepted.items(), 100):
        (root / name).write_bytes(picture(seed, kind))
    listed = {
        "f.heic": (b"\0\0\0\x18ftypheic" + bytes(50), "not a picture (.heic)"),
        "notes.txt": (b"text", "not a picture (.txt)"),
        "README": (b"text", "not a picture"),
        "g.nef": (b"II*\0" + bytes(50), "not a picture (.nef)"),
        ".hidden.png": (picture(1), "hidden"),
        "._0.png": (b"fork", "hidden"),
        ".git/x": (b"x", ".git: a hidden folder"),
    }
    for name, (content, _reason) in listed.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    (root / "elsewhere").symlink_to(tmp_path)
    (root / "broken.png").symlink_to("nowhere")
    os.mkfifo(root / "pipe.png")
    with open(root / "huge.png", "wb") as file:
        file.truncate(300 * 2**20)
    expected = {name: reason for name, (_content, reason) in listed.items() if name != ".git/x"}
    expected |= {".git": "a hidden folder", "elsewhere": "a link to a folder", "huge.png": "over 256 MiB"}
    expected |= {"broken.png": "not a file", "pipe.png": "not a file"}
    manifest = packed(root, tmp_path / "w")
    assert left_out(tmp_path / "w") == expected
    assert manifest["counts"]["found"] == 18 and manifest["counts"]["passed_over"] == len(expected)


@pytest.mark.parametrize("write", [zipped, tarred("w:gz")])
def test_archives_list_what_is_passed_over_too(write: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    root = filled(tmp_path / "mine", PLAIN)
    (root / "no suffix").write_bytes(picture(50))
    (root / "notes.txt").write_text("text")
    (root / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    manifest = packed(write(root, tmp_path / "archive"), tmp_path / "w")
    assert manifest["counts"]["found"] == 13 and manifest["counts"]["passed_over"] == 2
    reasons = {Path(name).name: reason for name, reason in left_out(tmp_path / "w").items()}
    assert reasons == {"notes.txt": "not a picture (.txt)", "x.heic": "not a picture (.heic)"}


def test_duplicates_are_listed_by_name(tmp_path: Path) -> None:
    root = filled(tmp_path / "mine", PLAIN)
    (root / "z").mkdir()
    for name, copy in (("0.png", "0 copy.png"), ("0.png", "0 copy 2.png"), ("3.png", "z/3.png")):
        shutil.copy(root / name, root / copy)
    manifest = packed(root, tmp_path / "w")
    firsts = {"0 copy.png": "0 copy 2.png", "0.png": "0 copy 2.png", "z/3.png": "3.png"}
    assert left_out(tmp_path / "w") == {name: f"the same pixels as {first}" for name, first in firsts.items()}
    assert manifest["counts"]["duplicates"] == 3


def test_nothing_left_out_means_no_list(tmp_path: Path) -> None:
    packed(filled(tmp_path / "mine", PLAIN), tmp_path / "w")
    assert not (tmp_path / "w/packed/left-out.csv").exists()


# --- Class folders ---------------------------------------------------------------------------------------------------


def test_class_folders_become_labels_that_follow_the_pictures(tmp_path: Path) -> None:
    names: list[str | bytes] = [f"{kind}/{index}.png" for kind in ("dogs", "cats", "Zebras") for index in range(9)]
    root = filled(tmp_path / "mine", names)
    manifest = packed(root, tmp_path / "w")
    assert manifest["classes"] == ["Zebras", "cats", "dogs"]
    class_of = {}
    for path in root.rglob("*.png"):
        class_of[np.asarray(Image.open(path)).tobytes()] = manifest["classes"].index(path.parent.name)
    for split in ("train", "holdout"):
        labels = open_labels(tmp_path / "w/packed", split, 3)  # type: ignore[arg-type]
        images = open_split(tmp_path / "w/packed", split)  # type: ignore[arg-type]
        assert labels is not None and labels.tolist() == [class_of[image.tobytes()] for image in images]


def test_a_picture_moved_to_another_class_is_another_data_set(tmp_path: Path) -> None:
    names: list[str | bytes] = [f"{kind}/{index}{kind}.png" for kind in ("dogs", "cats") for index in range(9)]
    root = filled(tmp_path / "mine", names)
    before = packed(root, tmp_path / "w")
    (root / "dogs/0dogs.png").rename(root / "cats/0dogs.png")
    after = packed(root, tmp_path / "w")
    assert after["sha256"]["train.npy"] == before["sha256"]["train.npy"] and after["dataset"] != before["dataset"]


@pytest.mark.parametrize("names", [PLAIN, [f"all/{name}" for name in PLAIN], [*PLAIN[:-1], "more/11.png"]])
def test_without_class_folders_there_are_no_labels(names: list[str | bytes], tmp_path: Path) -> None:
    manifest = packed(filled(tmp_path / "mine", names), tmp_path / "w")
    assert "classes" not in manifest and open_labels(tmp_path / "w/packed", "train") is None


# --- Which pictures --------------------------------------------------------------------------------------------------


def test_a_damaged_copy_in_data_raw_is_named(tmp_path: Path) -> None:
    packed(filled(tmp_path / "mine", PLAIN), tmp_path / "w")
    archive = tmp_path / "w/raw/pictures.zip"
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(
        GanealogyError, match=r"pictures\.zip: absent, or not of its .* bytes; run `dvc repro download`"
    ):
        preprocess(settings(tmp_path / "mine"), tmp_path / "w/raw", tmp_path / "w/packed")


@pytest.mark.parametrize("name", ["cats & dogs", "犬", "a/b/c", "esc\x1b"])
def test_the_credit_names_the_folder(name: str, tmp_path: Path) -> None:
    manifest = packed(filled(tmp_path / name, PLAIN), tmp_path / "w")
    assert manifest["title"] == f"Your own pictures: {Path(name).name}".replace("\x1b", "%1B")
    assert json.loads((tmp_path / "w/raw/source.json").read_text())["title"] == manifest["title"]
