"""A tiny MNIST, and a tiny CIFAR-10, in a mirror directory."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from helpers.tiny_cifar import batches, pin
from numpy.typing import NDArray

from ganealogy.data.sources import cifar10, mnist


class Mirror(NamedTuple):
    directory: Path
    images: NDArray[np.uint8]
    """(40, 28, 28): 30 of the train files, 10 of the t10k files."""
    labels: NDArray[np.uint8]


def idx(array: NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def mnist_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """Files with the published names; the source's checksums are replaced by theirs."""
    folder = tmp_path / "mirror" / "mnist"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = generator.integers(0, 10, 40, dtype=np.uint8)
    for part, rows in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images[rows]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels[rows]))
    checksums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in mnist.FILES}
    monkeypatch.setattr(mnist, "FILES", checksums)
    monkeypatch.delenv("GANEALOGY_MIRROR", raising=False)
    return Mirror(folder.parent, images, labels)


@pytest.fixture
def cifar10_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """Five training batches of eight pictures and a test batch of ten, under a checksum of their own.

    The last picture of the test batch is the second training picture.
    """
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    images[49] = images[1]
    labels = generator.integers(0, 10, 50, dtype=np.uint8)
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(50, -1)], axis=1)
    members = {name: records[8 * index : 8 * index + 8].tobytes() for index, name in enumerate(cifar10.TRAIN)}
    members = {"cifar-10-batches-bin/readme.html": b"<html>", cifar10.TEST: records[40:].tobytes(), **members}
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / cifar10.ARCHIVE.name).write_bytes(batches(members))
    pin(monkeypatch, folder)
    monkeypatch.delenv("GANEALOGY_MIRROR", raising=False)
    return Mirror(folder, images, labels)
