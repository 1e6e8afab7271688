"""The packed arrays: how every later stage opens the pictures, and which part of them is for what.

The pictures of a split are ordered by a hash of their pixels, so that any prefix is a random subset.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.files.integrity import NUMPY_DAMAGE

if TYPE_CHECKING:
    from ganealogy.workspace import ManifestJson

Split = Literal["train", "holdout"]
CURE = "run `dvc repro preprocess`"


def open_split(directory: Path | str, split: Split) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C), mapped into memory and read-only: only the pages that are used are read.

    Raises: GanealogyError when the file is absent, damaged, not such an array, or not what the manifest beside it
    tells of.
    """
    path = Path(directory) / f"{split}.npy"
    images = open_pictures(path, CURE)
    if (path.parent / "manifest.json").exists():
        told = read_manifest(directory)
        counts = told.get("counts")
        count = counts.get(split) if isinstance(counts, dict) else None
        expected = (count, told.get("image_size"), told.get("image_size"), told.get("channels"))
        if any(wanted not in (None, found) for wanted, found in zip(expected, images.shape, strict=True)):
            shape = ", ".join("?" if size is None else str(size) for size in expected)
            raise GanealogyError(f"{path}: {images.shape}, where manifest.json tells of ({shape}); {CURE}")
    return images


def open_pictures(path: Path, cure: str) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C) of one .npy file, mapped and read-only. Raises: GanealogyError, which ends with `cure`."""
    images = _load(path, True, cure)
    whole = images.ndim == 4 and images.shape[3] in (1, 3) and 0 not in images.shape and images.flags.c_contiguous
    if images.dtype != np.uint8 or not whole:
        raise GanealogyError(f"{path}: expected uint8 (N, H, W, 1 or 3), found {images.dtype} {images.shape}; {cure}")
    return images


def open_labels(directory: Path | str, split: Split, classes: int | None = None) -> NDArray[np.int64] | None:
    """int64 (N,), or None when the source has no classes; `classes`: how many the caller knows, None for any number.

    Raises: GanealogyError when the file is damaged, or holds what is no class or not one for each picture.
    """
    path = Path(directory) / f"{split}-labels.npy"
    if not path.exists():
        return None
    labels = _load(path, False, CURE)
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise GanealogyError(f"{path}: expected int64 (N,), found {labels.dtype} {labels.shape}; {CURE}")
    pictures = len(open_split(directory, split))
    if len(labels) != pictures:
        raise GanealogyError(f"{path}: {len(labels)} labels of {pictures} pictures; {CURE}")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (classes is not None and highest >= classes):
        known = "0 and more" if classes is None else f"0 to {classes - 1}"
        raise GanealogyError(f"{path}: labels from {lowest} to {highest}, where classes are {known}; {CURE}")
    return labels


def read_manifest(directory: Path | str) -> ManifestJson:
    """What preprocessing wrote about the data. Raises: GanealogyError when it is absent or damaged."""
    path = Path(directory) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {CURE}") from None
    if not isinstance(manifest, dict) or "dataset" not in manifest:
        raise GanealogyError(f"{path}: not a manifest of packed pictures; {CURE}")
    checked: ManifestJson = manifest  # type: ignore[assignment]
    return checked


def tracker_slice(n_train: int) -> slice:
    """The last fifth of train: the reals of the tracker that picks `best`, and of nothing else."""
    return slice(n_train - max(1, n_train // 5), n_train)


def reference_slice(n_train: int, reals: int) -> slice:
    """The reals of the final evaluation: the first `reals` of train, never reaching into the tracker's."""
    return slice(0, min(reals, tracker_slice(n_train).start))


def _load(path: Path, mapped: bool, cure: str) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; {cure}") from None
    except NUMPY_DAMAGE as error:
        raise GanealogyError(f"{path}: not a whole .npy array ({error}); {cure}") from None
    if not isinstance(array, np.ndarray):  # an archive, under the name of an array
        array.close()
        raise GanealogyError(f"{path}: not a whole .npy array (an archive of them); {cure}")
    return array
