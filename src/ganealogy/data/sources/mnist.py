"""MNIST: 70,000 handwritten digits of 28×28 grey pixels, with their classes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganealogy.data.fetch import Remote, in_mirror, obtain
from ganealogy.errors import GanealogyError
from ganealogy.record_types import DatasetSettings

CLASSES = 10
INPUTS = ("mirror",)
CREDIT = {
    "title": "The MNIST database of handwritten digits",
    "artist": "Yann LeCun and Corinna Cortes",
    "licence": "CC BY-SA 3.0",
    "licence_url": "https://creativecommons.org/licenses/by-sa/3.0/",
    "url": "https://yann.lecun.com/exdb/mnist/",
}
HOSTS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
FILES = {  # md5 from torchvision
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
ARCHIVES = tuple(FILES)
MAX_BYTES = 2**30
"""Largest accepted idx file; MNIST's largest has 47 MB."""


def credit(settings: DatasetSettings) -> dict[str, str]:
    return dict(CREDIT)


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Write the four files to `raw` and return their names. Raises: GanealogyError if one cannot be fetched."""
    for name, md5 in FILES.items():
        remote = Remote(name, tuple(host + name for host in HOSTS), md5=md5)
        obtain(remote, raw / name, in_mirror(mirror, name, f"mnist/{name}"))
    return list(FILES)


class Digits:
    """The digits of the train files, followed by those of the t10k files."""

    def __init__(self, files: list[Path]) -> None:
        """Raises: GanealogyError if a file is absent, damaged or does not match the others."""
        by_name = {path.name: path for path in files}
        if missing := sorted(set(FILES) - set(by_name)):
            raise GanealogyError(f"MNIST's {missing[0]} is missing; run `dvc repro download`")
        images = [read_idx(by_name[name]) for name in FILES if "images" in name]
        labels = [read_idx(by_name[name]) for name in FILES if "labels" in name]
        for digits, classes in zip(images, labels, strict=True):
            if digits.ndim != 3 or classes.shape != digits.shape[:1]:
                raise GanealogyError(
                    f"{files[0].parent}: images {digits.shape} and labels {classes.shape} do not match; "
                    "run `dvc repro download`"
                )
        self.images = np.concatenate(images)  # (N, 28, 28)
        self.labels: NDArray[np.int64] | None = np.concatenate(labels).astype(np.int64)
        self.classes = [str(digit) for digit in range(CLASSES)]

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"digit {index}"

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return grey pixels (28, 28)."""
        return self.images[index]


def pictures(files: list[Path]) -> Digits:
    return Digits(files)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes: magic 0, 0, 8, number of dimensions; each as big-endian u32; bytes.

    Raises: GanealogyError if it is anything else, shorter or longer than declared, or above MAX_BYTES.
    """
    try:
        with gzip.open(path, "rb") as file:
            zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
            if zero != 0 or kind != 8 or not 1 <= dimensions <= 4:
                raise GanealogyError(f"{path}: not an idx file of bytes; run `dvc repro download`")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = math.prod(shape)
            if size > MAX_BYTES:
                raise GanealogyError(
                    f"{path}: declares {size:,} bytes, more than {MAX_BYTES:,}; run `dvc repro download`"
                )
            content = file.read(size + 1)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; run `dvc repro download`") from None
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise GanealogyError(f"{path}: not a whole gzipped idx file ({error}); run `dvc repro download`") from None
    if len(content) != size:
        raise GanealogyError(f"{path}: declares {shape} bytes but holds fewer or more; run `dvc repro download`")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
