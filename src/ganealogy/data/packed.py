"""The packed arrays: how every later stage opens the pictures, and which part of them is for what.

The pictures of a split are ordered by a hash of their pixels, so that any prefix is a random subset.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

PACKED = Path("data/packed")
Split = Literal["train", "holdout"]
CURE = "run `dvc repro preprocess`"


def open_split(directory: Path | str, split: Split) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C), mapped into memory and read-only: only the pages that are used are read.

    Raises: GanealogyError when the file is absent, damaged or not such an array.
    """
    path = Path(directory) / f"{split}.npy"
    images = _load(path, mapped=True)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.flags.c_contiguous:
        raise GanealogyError(f"{path}: expected uint8 (N, H, W, 1 or 3), found {images.dtype} {images.shape}; {CURE}")
    return images


def open_labels(directory: Path | str, split: Split) -> NDArray[np.int64] | None:
    """int64 (N,), or None when the source has no classes. Raises: GanealogyError when the file is damaged."""
    path = Path(directory) / f"{split}-labels.npy"
    if not path.exists():
        return None
    labels = _load(path, mapped=False)
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise GanealogyError(f"{path}: expected int64 (N,), found {labels.dtype} {labels.shape}; {CURE}")
    return labels


def read_manifest(directory: Path | str) -> dict[str, Any]:
    """What preprocessing wrote about the data. Raises: GanealogyError when it is absent or damaged."""
    path = Path(directory) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {CURE}") from None
    if not isinstance(manifest, dict) or "dataset" not in manifest:
        raise GanealogyError(f"{path}: not a manifest of packed pictures; {CURE}")
    return manifest


def tracker_slice(n_train: int) -> slice:
    """The last fifth of train: the reals of the tracker that picks `best`, and of nothing else."""
    return slice(n_train - max(1, n_train // 5), n_train)


def reference_slice(n_train: int, reals: int) -> slice:
    """The reals of the final evaluation: the first `reals` of train, never reaching into the tracker's."""
    return slice(0, min(reals, tracker_slice(n_train).start))


def _load(path: Path, mapped: bool) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; {CURE}") from None
    except (ValueError, OSError, EOFError) as error:
        raise GanealogyError(f"{path}: not a whole .npy array ({error}); {CURE}") from None
    return array
