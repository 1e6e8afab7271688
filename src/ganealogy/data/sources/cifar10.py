"""CIFAR-10: 60,000 photographs of 32×32 pixels in ten classes (Krizhevsky, 2009), in the official splits.

Of the official archives this is the binary one: its records are plain bytes, while the Python one is pickles, which can
contain code. The pictures are the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganealogy.data.archives import read_members
from ganealogy.data.fetch import Remote, in_mirror, obtain
from ganealogy.errors import GanealogyError
from ganealogy.record_types import DatasetSettings

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASSES = 10
OFFICIAL_SPLITS = True
INPUTS = ("mirror",)
CREDIT = {
    "title": "CIFAR-10",
    "artist": "collected by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton; each photograph by its own photographer",
    "licence": "none stated; the authors ask for a citation of their report",
    "licence_url": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "url": "https://www.cs.toronto.edu/~kriz/cifar.html",
}
ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    page=CREDIT["url"],
    md5="c32a1d4ab5d03f1284b67883e8d87530",  # as the authors list it
)
ARCHIVES = (ARCHIVE.name,)
TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
TEST = "cifar-10-batches-bin/test_batch.bin"
SIDE = 32
RECORD = 1 + 3 * SIDE**2
"""Bytes of a picture: its class, then its red, green and blue pixels, row by row."""
MAX_BYTES = 2**28
"""Largest accepted batch; the official ones have 31 MB."""


def credit(settings: DatasetSettings) -> dict[str, str]:
    return dict(CREDIT)


def fetch(settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
    """Write the archive to `raw` and return its name. Raises: GanealogyError if it cannot be fetched."""
    obtain(ARCHIVE, raw / ARCHIVE.name, in_mirror(mirror, ARCHIVE.name, f"cifar10/{ARCHIVE.name}"))
    return [ARCHIVE.name]


class Photographs:
    """The pictures of the five training batches, followed by those of the test batch."""

    def __init__(self, path: Path) -> None:
        """Raises: GanealogyError if the archive is absent or damaged, or a batch is no row of whole records."""
        batches = read_members(path, (*TRAIN, TEST), MAX_BYTES)
        for name, content in batches.items():
            if len(content) % RECORD:
                raise GanealogyError(
                    f"{path}: {name} has {len(content):,} bytes, which are no records of {RECORD:,}; "
                    "run `dvc repro download`"
                )
        records = np.frombuffer(b"".join(batches[name] for name in (*TRAIN, TEST)), np.uint8).reshape(-1, RECORD)
        self.train = len(records) - len(batches[TEST]) // RECORD
        self.held_out = np.arange(len(records)) >= self.train
        self.labels: NDArray[np.int64] | None = records[:, 0].astype(np.int64)
        self.classes = list(NAMES)
        self.images = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)  # (N, 32, 32, 3)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"test {index - self.train}" if self.held_out[index] else f"train {index}"

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return pixels (32, 32, 3)."""
        return np.ascontiguousarray(self.images[index])


def pictures(files: list[Path]) -> Photographs:
    return Photographs(files[0])
