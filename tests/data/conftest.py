"""A tiny MNIST in a mirror directory."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from ganealogy.data.sources import mnist


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
