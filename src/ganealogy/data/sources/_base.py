"""The interface of a data source: what each file in this folder defines.

Optional:

- `files(path)`: the user's own files as (name, path), so that a change of them repeats the download
- `existing(path)`: check that path alone
- `classes(files)`: the number of classes of these files
- CLASSES: the number of classes of another source with labels
- OFFICIAL_SPLITS: True if its reader has `held_out`, in place of `dataset.holdout`
- ARCHIVES: the names of all files that `fetch` may write, by which a changed mirror is noticed, too
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganealogy.data.pictures import Pixels
from ganealogy.record_types import DatasetSettings


class Source(Protocol):
    """`settings`: the `dataset` section of params.yaml."""

    INPUTS: tuple[str, ...]
    """Keys of `settings` that the download depends on."""

    def credit(self, settings: DatasetSettings) -> dict[str, str]:
        """Return title, artist, licence, licence_url and url, which the report shows."""

    def fetch(self, settings: DatasetSettings, raw: Path, mirror: Path | None) -> list[str]:
        """Write the archives into `raw` and return their names. `mirror`: a directory to copy public files from."""

    def pictures(self, files: list[Path]) -> PictureReader:
        """Open the archives."""


class PictureReader(Protocol):
    """Random access to the pictures of a data source.

    Optional: `held_out`, bool (N,): the pictures of the official held-out split, in place of a split by hash;
    `classes`: the names of the classes that `labels` number.
    """

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) classes; None if the source has no classes."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name used in the manifest's list of rejected pictures."""

    def read(self, index: int) -> bytes | Pixels:
        """Return an encoded picture, or pixels, (H, W) grey or (H, W, 3). Raises: Rejected."""
