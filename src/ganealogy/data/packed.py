"""Open the packed arrays, and divide `train` between the tracker and the evaluation.

The pictures of a split are sorted by a hash of their pixels, so that any prefix is a random subset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.files.integrity import NUMPY_DAMAGE
from ganealogy.files.records import read_record
from ganealogy.record_types import ManifestJson

Split = Literal["train", "holdout"]
HINT = "run `dvc repro preprocess`"


def open_split(directory: Path | str, split: Split) -> NDArray[np.uint8]:
    """Return uint8 (N, H, W, C), memory-mapped and read-only.

    Raises: GanealogyError if the file is absent, damaged, not such an array, or of another shape than its manifest.
    """
    path = Path(directory) / f"{split}.npy"
    images = open_pictures(path, HINT)
    if (path.parent / "manifest.json").exists():
        manifest = read_manifest(directory)
        counts = manifest.get("counts")
        count = counts.get(split) if isinstance(counts, dict) else None
        expected = (count, manifest.get("image_size"), manifest.get("image_size"), manifest.get("channels"))
        if any(size not in (None, actual) for size, actual in zip(expected, images.shape, strict=True)):
            shape = ", ".join("?" if size is None else str(size) for size in expected)
            raise GanealogyError(f"{path}: shape {images.shape}, but manifest.json has ({shape}); {HINT}")
    return images


def open_pictures(path: Path, hint: str) -> NDArray[np.uint8]:
    """Return uint8 (N, H, W, C) of an .npy file, memory-mapped and read-only.

    Raises: GanealogyError, which ends with `hint`.
    """
    images = _load(path, True, hint)
    is_valid = images.ndim == 4 and images.shape[3] in (1, 3) and 0 not in images.shape and images.flags.c_contiguous
    if images.dtype != np.uint8 or not is_valid:
        raise GanealogyError(f"{path}: expected uint8 (N, H, W, 1 or 3), found {images.dtype} {images.shape}; {hint}")
    return images


def open_labels(directory: Path | str, split: Split, classes: int | None = None) -> NDArray[np.int64] | None:
    """Return int64 (N,), or None if the source has no classes.

    Raises: GanealogyError if the file is damaged, its length is not the split's, or a label is not in [0, `classes`).
    """
    path = Path(directory) / f"{split}-labels.npy"
    if not path.exists():
        return None
    labels = _load(path, False, HINT)
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise GanealogyError(f"{path}: expected int64 (N,), found {labels.dtype} {labels.shape}; {HINT}")
    pictures = len(open_split(directory, split))
    if len(labels) != pictures:
        raise GanealogyError(f"{path}: {len(labels)} labels for {pictures} pictures; {HINT}")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (classes is not None and highest >= classes):
        legal = "0 and more" if classes is None else f"0 to {classes - 1}"
        raise GanealogyError(f"{path}: labels from {lowest} to {highest}, expected {legal}; {HINT}")
    return labels


def read_manifest(directory: Path | str) -> ManifestJson:
    """Return the content of manifest.json. Raises: GanealogyError if it is absent or damaged."""
    return read_record(Path(directory) / "manifest.json", HINT, ("dataset",))


def tracker_slice(n_train: int) -> slice:
    """Return the last fifth of train, used only by the tracker that picks the best checkpoint."""
    return slice(n_train - max(1, n_train // 5), n_train)


def reference_slice(n_train: int, reals: int) -> slice:
    """Return the reals of the final evaluation: the first `reals` of train, without the tracker's."""
    return slice(0, min(reals, tracker_slice(n_train).start))


def _load(path: Path, mapped: bool, hint: str) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; {hint}") from None
    except NUMPY_DAMAGE as error:
        raise GanealogyError(f"{path}: not a whole .npy array ({error}); {hint}") from None
    if not isinstance(array, np.ndarray):  # an .npz archive with the suffix .npy
        array.close()
        raise GanealogyError(f"{path}: not a whole .npy array (an .npz archive); {hint}")
    return array
