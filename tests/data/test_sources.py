"""The download stage with each source, from a mirror or folder made by the test."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganealogy import components
from ganealogy.data import sources
from ganealogy.data.archives import ZipPictures
from ganealogy.data.download import KIND, download, inputs
from ganealogy.data.preprocess import count_identities, preprocess
from ganealogy.data.sources import anime, avatars, celeba, folder, mnist
from ganealogy.errors import GanealogyError
from ganealogy.params import schema


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "mirror"
    directory.mkdir()
    monkeypatch.setenv("GANEALOGY_MIRROR", str(directory))
    return directory


def settings(name: str, **given: Any) -> dict[str, Any]:
    dataset = {"name": name, "image_size": 16, "channels": 3, "fit": "crop", "count": None, "holdout": 0.2}
    return {**dataset, "max_rejected": 0.1, "style": "adventurer", "path": None, "mirror": None, **given}


def picture(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, count: int = 5) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            archive.writestr(f"faces/{index}.png", picture(index))
    return path


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def test_every_source_credits_its_artists() -> None:
    for name in components.known(KIND):
        source = components.load(KIND, name)
        credit = source.credit(settings(name, path="x"))
        assert {"title", "artist", "licence", "licence_url", "url"} <= set(credit)
        json.dumps(credit)
    assert set(components.known(KIND)) == {"avatars", "anime", "celeba", "cifar10", "mnist", "folder"}


ADDED = """
from ganealogy.data.sources import folder

INPUTS = ("path",)
fetch, pictures = folder.fetch, folder.pictures


def credit(settings):
    return {"title": "Added by one file", "artist": "", "licence": "", "licence_url": "", "url": ""}
"""


def test_a_new_source_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added.py").write_text(ADDED)
    params = tmp_path / "params.yaml"
    tree_and_train = "tree: {versions: [v1], seeds: [0]}\ntrain: {kimg: 1, batch_size: 8, lr: 0.001}\n"
    params.write_text(f"dataset: {{name: added, image_size: 16, path: x}}\n{tree_and_train}")
    with pytest.raises(GanealogyError) as caught:
        schema.load(params)
    known = "anime, avatars, celeba, cifar10, folder, mnist"
    assert str(caught.value) == f"{params}: dataset.name = 'added': unknown data source; known: {known}"

    monkeypatch.setattr(components, "known", lambda kind: ("added",) if kind == KIND else ())
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    dataset = schema.load(params).dataset
    download(settings(dataset.name, path=str(zipped(tmp_path / "mine.zip"))), tmp_path / "raw")
    assert json.loads((tmp_path / "raw" / "source.json").read_text())["title"] == "Added by one file"
    sys.modules.pop(f"{sources.__name__}.added")


def test_a_folder_source_needs_a_path(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("dataset: {name: folder, image_size: 16}\ntree: {versions: [v1], seeds: [0]}\ntrain: {}\n")
    with pytest.raises(GanealogyError, match=r"dataset\.path must name a directory or a zip"):
        schema.load(params)


def test_avatars_do_not_depend_on_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatars, "CHUNK", 3)
    for name, processes in (("one", "1"), ("two", "2")):
        monkeypatch.setenv("GANEALOGY_THREADS", processes)
        download(settings("avatars", count=8), tmp_path / name)
    archives = [(tmp_path / name / "avatars.zip").read_bytes() for name in ("one", "two")]
    assert archives[0] == archives[1]
    source = json.loads((tmp_path / "one" / "source.json").read_text())
    assert source["artist"] == "Lisa Wischofsky" and source["licence"] == "CC BY 4.0"
    assert source["files"]["avatars.zip"]["sha256"] == hashlib.sha256(archives[0]).hexdigest()
    pictures = avatars.pictures([tmp_path / "one" / "avatars.zip"])
    assert len(pictures) == 8 and len({pictures.read(index) for index in range(8)}) == 8
    image = Image.open(io.BytesIO(pictures.read(0)))
    assert image.size == (128, 128) and image.convert("RGBA").getextrema()[3] == (255, 255)


def test_a_larger_count_begins_with_the_same_avatars(tmp_path: Path) -> None:
    download(settings("avatars", count=2), tmp_path / "two")
    download(settings("avatars", count=3, style="pixel-art"), tmp_path / "other")
    download(settings("avatars", count=3), tmp_path / "three")
    two, three = (avatars.pictures([tmp_path / name / "avatars.zip"]) for name in ("two", "three"))
    assert [two.read(index) for index in range(2)] == [three.read(index) for index in range(2)]
    source = json.loads((tmp_path / "other" / "source.json").read_text())
    assert source["licence"] == "CC0 1.0"


def test_an_unknown_style_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match=r"unknown style 'cubist'; known: .*adventurer.*pixel-art"):
        download(settings("avatars", style="cubist"), tmp_path / "raw")
    assert not (tmp_path / "raw" / "source.json").exists()


def test_mnist_is_read_from_a_mirror(tmp_path: Path, mnist_mirror: Any) -> None:
    mirror, images, labels = mnist_mirror
    download(settings("mnist", mirror=str(mirror)), tmp_path / "raw")
    source = json.loads((tmp_path / "raw" / "source.json").read_text())
    assert source["source"] == "mnist" and sorted(source["files"]) == sorted(mnist.FILES)
    digits = mnist.pictures([tmp_path / "raw" / name for name in source["files"]])
    assert len(digits) == 40 and digits.labels is not None and (digits.labels == labels).all()
    assert all((digits.read(index) == images[index]).all() for index in range(40))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:20])])
def test_mnist_files_that_are_damaged_later_come_again(
    tmp_path: Path, mnist_mirror: Any, damage: Callable[[Path], object]
) -> None:
    """`dvc repro download` runs the stage again, because its output has changed."""
    raw = tmp_path / "raw"
    download(settings("mnist", mirror=str(mnist_mirror[0])), raw)
    files = [raw / name for name in mnist.FILES]
    damage(files[0])
    with pytest.raises(GanealogyError, match="run `dvc repro download`"):
        mnist.pictures([path for path in files if path.exists()])
    download(settings("mnist", mirror=str(mnist_mirror[0])), raw)
    assert len(mnist.pictures(files)) > 0


def test_mnist_files_with_other_checksums_are_refused(tmp_path: Path, mirror: Path) -> None:
    (mirror / "train-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((2, 28, 28))))
    with pytest.raises(GanealogyError, match=r"md5 is .* instead of f68b3c2d"):
        download(settings("mnist"), tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"plain text",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x0b\1" + bytes(8)),  # 16-bit values
        gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31)),  # declares 10^28 bytes
        gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2, 2, 2) + bytes(7)),
        gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2, 2, 2) + bytes(9)),
        idx(np.zeros((9, 9, 9)))[:-12],
    ],
)
def test_a_bad_idx_file_is_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(GanealogyError, match=r"x\.gz: .*run `dvc repro download`"):
        mnist.read_idx(tmp_path / "x.gz")


def test_celeba_prefers_a_mirrors_complete_set(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = zipped(mirror / celeba.SMALL.name, 2)
    monkeypatch.setattr(
        celeba, "SMALL", dataclasses.replace(celeba.SMALL, sha256=hashlib.sha256(small.read_bytes()).hexdigest())
    )
    download(settings("celeba"), tmp_path / "raw")
    assert list(json.loads((tmp_path / "raw" / "source.json").read_text())["files"]) == ["celeba-89x109-10k.zip"]
    whole = zipped(mirror / celeba.WHOLE.name, 4)
    with pytest.raises(GanealogyError, match="md5 is"):
        download(settings("celeba"), tmp_path / "raw")
    monkeypatch.setattr(
        celeba, "WHOLE", dataclasses.replace(celeba.WHOLE, md5=hashlib.md5(whole.read_bytes()).hexdigest())
    )
    download(settings("celeba"), tmp_path / "raw")
    assert list(json.loads((tmp_path / "raw" / "source.json").read_text())["files"]) == ["img_align_celeba.zip"]
    assert len(celeba.pictures([tmp_path / "raw" / "img_align_celeba.zip"])) == 4


def test_celebas_identities_are_counted_over_the_split(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, people = zipped(mirror / celeba.WHOLE.name, 60), mirror / celeba.IDENTITIES.name
    names = ZipPictures(whole)
    known = {Path(names.name(index)).name: index // 3 for index in range(50)}  # three pictures each; ten are of nobody
    people.write_text("".join(f"{name} {person}\n" for name, person in known.items()))
    for remote, path in (("WHOLE", whole), ("IDENTITIES", people)):
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setattr(celeba, remote, dataclasses.replace(getattr(celeba, remote), md5=md5))
    given = settings("celeba", holdout=0.3)
    download(given, tmp_path / "raw")
    found = preprocess(given, tmp_path / "raw", tmp_path / "packed")["identities"]
    assert found["train"] <= 17 and found["holdout"] <= 17 and found["train"] + found["holdout"] - found["both"] == 17
    assert found["both"] > 0
    sides = {"train": ["a", "b", "x"], "holdout": ["c", "d"]}
    assert count_identities({"a": 1, "b": 1, "c": 1, "d": 2}, sides) == {"train": 1, "holdout": 2, "both": 1}


def test_anime_is_read_from_a_mirror(tmp_path: Path, mirror: Path) -> None:
    zipped(mirror / anime.WHOLE)
    download(settings("anime"), tmp_path / "raw")
    assert len(anime.pictures([tmp_path / "raw" / anime.WHOLE])) == 5


class FakeKaggle:
    """Replaces Kaggle's client, which needs an account; it fails in the same ways."""

    outcome = "success"

    def authenticate(self) -> None:
        if self.outcome == "no token":
            print("a page of help")
            sys.exit(1)

    def dataset_download_files(self, dataset: str, path: str, quiet: bool) -> None:
        assert dataset == "splcher/animefacedataset"
        if self.outcome == "forbidden":
            raise RuntimeError("403 Client Error: Forbidden for url")
        target = Path(path) / "animefacedataset.zip"
        zipped(target)
        if self.outcome == "cut short":
            target.write_bytes(target.read_bytes()[:-30])


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> type[FakeKaggle]:
    monkeypatch.delenv("GANEALOGY_MIRROR", raising=False)
    module = types.ModuleType("kaggle.api.kaggle_api_extended")
    module.KaggleApi = FakeKaggle  # type: ignore[attr-defined]
    for name in ("kaggle", "kaggle.api"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return FakeKaggle


def test_anime_is_downloaded_from_kaggle(tmp_path: Path, kaggle: type[FakeKaggle]) -> None:
    download(settings("anime"), tmp_path / "raw")
    assert sorted(entry.name for entry in (tmp_path / "raw").iterdir()) == ["animefacedataset.zip", "source.json"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("no token", "requires a token"), ("forbidden", "403 Client Error"), ("cut short", "not a whole zip")],
)
def test_a_failing_kaggle_client_is_one_line_and_leaves_nothing(
    tmp_path: Path, kaggle: type[FakeKaggle], outcome: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(kaggle, "outcome", outcome)
    with pytest.raises(GanealogyError, match=reason) as caught:
        download(settings("anime"), tmp_path / "raw")
    assert "\n" not in str(caught.value) and capsys.readouterr().out == ""
    assert list((tmp_path / "raw").iterdir()) == []


def test_without_kaggles_client_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANEALOGY_MIRROR", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)  # makes the import fail
    with pytest.raises(GanealogyError, match=r"not installed; pip install 'ganealogy\[kaggle\]'"):
        download(settings("anime"), tmp_path / "raw")


def photos(root: Path) -> Path:
    (root / "trip" / "day 2").mkdir(parents=True)
    (root / "trip" / "b.png").write_bytes(picture(0))
    (root / "trip" / "day 2" / "ä.JPG").write_bytes(picture(1))
    (root / "a.png").write_bytes(picture(2))
    (root / "notes.txt").write_text("not a picture")
    (root / ".trash").mkdir()
    (root / ".trash" / "old.png").write_bytes(picture(3))
    os.mkfifo(root / "pipe.png")
    return root


def test_a_folder_becomes_one_archive_of_its_pictures(tmp_path: Path) -> None:
    root = photos(tmp_path / "my photos")
    for name in ("one", "two"):
        download(settings("folder", path=str(root)), tmp_path / name)
    archive = tmp_path / "one" / "pictures.zip"
    assert archive.read_bytes() == (tmp_path / "two" / "pictures.zip").read_bytes()
    pictures = folder.pictures([archive])
    assert [pictures.name(index) for index in range(3)] == ["a.png", "trip/b.png", "trip/day 2/ä.JPG"]
    assert pictures.read(1) == picture(0)


def test_a_safe_zip_is_copied_unchanged(tmp_path: Path) -> None:
    path = zipped(tmp_path / "mine.zip")
    download(settings("folder", path=str(path)), tmp_path / "raw")
    assert (tmp_path / "raw" / "pictures.zip").read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.png", picture(0))
    with pytest.raises(GanealogyError, match=r"mine\.zip: refused"):
        download(settings("folder", path=str(path)), tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_an_absent_or_empty_folder_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="no such directory or zip"):
        download(settings("folder", path=str(tmp_path / "none")), tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GanealogyError, match=r"no pictures in it; add \.jpg"):
        download(settings("folder", path=str(tmp_path / "empty")), tmp_path / "raw")
    with pytest.raises(GanealogyError, match=r"dataset\.path"):
        folder.files(str(tmp_path / "none"))


def test_the_downloads_inputs_are_the_settings_that_it_uses(tmp_path: Path) -> None:
    small, large = settings("avatars"), settings("avatars", image_size=64, channels=1, holdout=0.3, path="x")
    assert inputs(small) == inputs(large) == {"name": "avatars", "style": "adventurer", "count": None}
    assert inputs(settings("avatars", style="micah")) != inputs(small)
    assert inputs(settings("mnist", count=5, style="x")) == inputs(settings("mnist"))
    assert inputs(settings("folder", path="x", image_size=64)) == {"name": "folder", "path": "x"}
