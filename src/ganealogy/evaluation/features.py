"""Features of many images, with progress: what the evaluation stages know of an extractor."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganealogy import components, ranks
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.frechet import Moments
from ganealogy.progress import Progress

KIND = "evaluation.extractors"
CHUNK = 256
"""Images between two movements of the bar; a multiple of every extractor's batch."""


class Extractor(Protocol):
    """What a file of evaluation/extractors/ returns from `load(device)`."""

    name: str
    network: bool
    """Whether the features are a network's, which every metric takes; else only the Fréchet distance is measured."""
    dimension: int
    protocol: dict[str, Any]
    """weights_sha256, resize, precision: what makes its numbers comparable with others."""

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, C) → (N, dimension), each row a function of its image alone."""
        ...


class FeatureSet:
    """Features (N, d) of a set of images, and what the metrics derive from them, computed once."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def moments(self) -> Moments:
        return Moments.of(self.values)


def load_extractor(name: str, device: str) -> Extractor:
    """Raises: GanealogyError for an unknown name, or for weights that are absent or damaged."""
    extractor: Extractor = components.load(KIND, name, "params.yaml: evaluate.extractors").load(device)
    return extractor


def extract(extractor: Extractor, images: NDArray[np.uint8], label: str) -> FeatureSet:
    """Raises: GanealogyError unless `images` is uint8 (N >= 1, H, W, 1 or 3)."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise GanealogyError(f"{label}: expected uint8 images (N, H, W, 1 or 3), got {images.dtype} {images.shape}")

    def features(rows: slice) -> NDArray[np.float32]:
        parts = []
        with Progress(f"{label} · {extractor.name}", rows.stop - rows.start, "images") as progress:
            for start in range(rows.start, rows.stop, CHUNK):
                parts.append(extractor.features(images[start : min(start + CHUNK, rows.stop)]))
                progress.update(len(parts[-1]))
        return np.concatenate(parts)

    return FeatureSet(ranks.in_pieces(len(images), CHUNK, extractor.dimension, features))
