"""CIFAR-10 from a tiny archive in the official format: splits, labels, checksum and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_cifar import batches, pin

from ganealogy.data.download import download
from ganealogy.data.packed import open_labels, open_split
from ganealogy.data.preprocess import preprocess
from ganealogy.data.sources import cifar10
from ganealogy.errors import GanealogyError
from ganealogy.params import schema


def settings(mirror: Path, **given: Any) -> dict[str, Any]:
    dataset = {"name": "cifar10", "image_size": 32, "channels": 3, "fit": "crop", "count": None, "holdout": 0.1}
    return {**dataset, "max_rejected": 0.1, "style": "adventurer", "path": None, "mirror": str(mirror), **given}


def members() -> dict[str, bytes]:
    return {name: bytes(cifar10.RECORD) for name in (*cifar10.TRAIN, cifar10.TEST)}


def test_the_official_archive_is_pinned() -> None:
    assert cifar10.ARCHIVE.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert cifar10.ARCHIVE.urls == ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)


def test_the_official_splits_are_kept_with_their_labels(tmp_path: Path, cifar10_mirror: Any) -> None:
    given = settings(cifar10_mirror.directory)
    download(given, tmp_path / "raw")
    manifest = preprocess(given, tmp_path / "raw", tmp_path / "packed")
    assert manifest["counts"] | {"train": 40, "holdout": 9, "duplicates": 1} == manifest["counts"]
    for split, rows in (("train", range(40)), ("holdout", range(40, 49))):
        expected = {(cifar10_mirror.images[row].tobytes(), int(cifar10_mirror.labels[row])) for row in rows}
        labels = open_labels(tmp_path / "packed", split, 10)  # type: ignore[arg-type]
        assert labels is not None
        pictures = open_split(tmp_path / "packed", split)  # type: ignore[arg-type]
        found = {(image.tobytes(), int(label)) for image, label in zip(pictures, labels, strict=True)}
        assert found == expected
    left_out = (tmp_path / "packed/left-out.csv").read_text()
    assert "test 9,the same pixels as train 1" in left_out, "of a picture in both splits, the training one stays"


def test_a_subset_keeps_the_splits_too(tmp_path: Path, cifar10_mirror: Any) -> None:
    given = settings(cifar10_mirror.directory, count=30)
    download(given, tmp_path / "raw")
    preprocess(given, tmp_path / "raw", tmp_path / "packed")
    held_out = {image.tobytes() for image in open_split(tmp_path / "packed", "holdout")}
    assert held_out <= {image.tobytes() for image in cifar10_mirror.images[40:]}
    with pytest.raises(GanealogyError, match=r"pictures for holdout, of 3 found, .*: raise dataset\.count$"):
        preprocess({**given, "count": 3}, tmp_path / "raw", tmp_path / "packed")


def test_pixels_are_planes_of_red_green_and_blue(tmp_path: Path) -> None:
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024
    path = tmp_path / "x.tar.gz"
    path.write_bytes(batches({**members(), cifar10.TEST: record}))
    pictures = cifar10.pictures([path])
    assert (len(pictures), pictures.name(4), pictures.name(5)) == (6, "train 4", "test 0")
    assert pictures.labels is not None and pictures.labels.tolist() == [0, 0, 0, 0, 0, 7]
    assert (pictures.read(5) == np.array([1, 2, 3])).all() and pictures.read(5).shape == (32, 32, 3)


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path, cifar10_mirror: Any) -> None:
    (cifar10_mirror.directory / cifar10.ARCHIVE.name).write_bytes(batches(members()))
    with pytest.raises(GanealogyError, match=r"cifar-10-binary\.tar\.gz: md5 is .* instead of"):
        download(settings(cifar10_mirror.directory), tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


def test_an_archive_that_is_damaged_later_comes_again(tmp_path: Path, cifar10_mirror: Any) -> None:
    """`dvc repro download` runs the stage again, because its output has changed."""
    given, file = settings(cifar10_mirror.directory), tmp_path / "raw" / cifar10.ARCHIVE.name
    download(given, tmp_path / "raw")
    file.write_bytes(batches({**members(), cifar10.TEST: b"short"}))
    with pytest.raises(GanealogyError, match=r"test_batch\.bin has 5 bytes, .*; run `dvc repro download`$"):
        cifar10.pictures([file])
    download(given, tmp_path / "raw")
    assert len(cifar10.pictures([file])) == 50


@pytest.mark.parametrize("case", ["absent", "text", "cut short", "no batch", "too large"])
def test_a_bad_archive_is_a_one_line_error(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar.gz"
    whole = batches(members())
    contents = {
        "text": b"plain text",
        "cut short": whole[:-30],
        "no batch": batches({"cifar-10-batches-bin/readme.html": b""}),
        "too large": whole,
    }
    if case == "too large":
        monkeypatch.setattr(cifar10, "MAX_BYTES", cifar10.RECORD - 1)
    if case != "absent":
        path.write_bytes(contents[case])
    with pytest.raises(GanealogyError, match=r"x\.tar\.gz: .*run `dvc repro download`$") as caught:
        cifar10.pictures([path])
    assert "\n" not in str(caught.value)


def test_the_splits_cannot_be_overruled(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    rest = "tree: {versions: [v1], seeds: [0]}\ntrain: {kimg: 1, batch_size: 8, lr: 0.001}\n"
    params.write_text(f"dataset: {{name: cifar10, image_size: 32}}\n{rest}")
    assert schema.load(params).dataset.name == "cifar10"
    params.write_text(f"dataset: {{name: cifar10, image_size: 32, holdout: 0.1}}\n{rest}")
    with pytest.raises(GanealogyError, match=r"dataset\.holdout is not for cifar10, whose official splits are kept"):
        schema.load(params)


def test_a_mirror_may_have_a_folder_for_it(
    tmp_path: Path, cifar10_mirror: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cifar10_mirror.directory / "cifar10"
    folder.mkdir()
    (cifar10_mirror.directory / cifar10.ARCHIVE.name).rename(folder / cifar10.ARCHIVE.name)
    pin(monkeypatch, folder)
    download(settings(cifar10_mirror.directory), tmp_path / "raw")
    assert (tmp_path / "raw" / cifar10.ARCHIVE.name).is_file()
