"""Features of many images, with progress: what the evaluation stages know of an extractor."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.evaluation import feature_cache
from ganealogy.evaluation.metrics import kid, neighbours, prdc
from ganealogy.evaluation.metrics.frechet import Moments
from ganealogy.evaluation.metrics.neighbours import Matrix
from ganealogy.runtime import distributed
from ganealogy.runtime.progress import Progress

KIND = "evaluation.extractors"
WHERE = "params.yaml: evaluate.extractors"
REFERENCE = Path("data/reference")
CHUNK = 256
"""Images between two movements of the bar; a multiple of every extractor's batch."""


class Extractor(Protocol):
    """What a file of evaluation/extractors/ returns from `load(device)`.

    A file that defines `prepare(packed_directory, reference, device)` learns from the data first, in the reference
    stage, and returns it from `load(device, reference)`. A file may say what it is made for: DATASETS, IMAGE_SIZES. An
    extractor that classifies the data's own classes has `probabilities(features) -> (N, K)`, which gives it
    classifier_score.py's metrics.
    """

    name: str
    network: bool
    """Whether the features are a network's, which every metric takes; some make no sense on bare pixels."""
    dimension: int
    protocol: dict[str, Any]
    """weights_sha256, resize, precision: what makes its numbers comparable with others."""

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, C) → (N, dimension), each row a function of its image alone."""
        ...


class FeatureSet:
    """Features (N, d) of a set of images, and what the metrics derive from them, computed once.

    That happens on the `device` where it is an NVIDIA card, and else on the processor: Apple's has no float64.
    """

    def __init__(self, values: NDArray[np.float32], device: str = "cpu") -> None:
        self.values, self.device = values, device if torch.device(device).type == "cuda" else "cpu"
        self.kernel_sums: dict[kid.Setup, Matrix] = {}
        """What `kernel_sums_as_reals` has found, or was kept from before."""

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def moments(self) -> Moments:
        return moments(self.values, self.device)

    @cached_property
    def squared_radii(self) -> Matrix:
        """(N,): squared distance of each to its k-th nearest other, with prdc's k.

        Raises: GanealogyError where there are not so many others.
        """
        if len(self) <= prdc.K:
            raise GanealogyError(f"needs more than {prdc.K} images a side, there are {len(self)}")
        return neighbours.squared_radii(self.values, prdc.K, self.device)

    def kernel_sums_as_reals(self, setup: kid.Setup) -> Matrix:
        """(subsets,): KID's kernel within each subset of these, the second set of the setup."""
        if setup not in self.kernel_sums:
            self.kernel_sums[setup] = kid.within(self.values, setup, 1, self.device)
        return self.kernel_sums[setup]


def moments(values: NDArray[Any], device: str) -> Moments:
    """`Moments.of` features (N, d), with its product on the card where there is one.

    A processor's own way makes use of the product's symmetry and takes half the time of torch's. Few images need no
    product, and what must be refused is refused there.
    """
    worth_it = device != "cpu" and len(values) >= values.shape[1] and np.isfinite(values).all()
    return moments_by_torch(values, device) if worth_it else Moments.of(values)


def moments_by_torch(values: NDArray[Any], device: str) -> Moments:
    """Of finite features (N >= d, d)."""
    rows = neighbours.resident(values, device).to(torch.float64, copy=True)
    mean = rows.mean(dim=0)
    rows -= mean
    rows /= (len(rows) - 1) ** 0.5
    return Moments(mean.cpu().numpy(), covariance=(rows.T @ rows).cpu().numpy())


def load_extractor(name: str, device: str, reference: Path = REFERENCE) -> Extractor:
    """`reference`: the directory where the reference stage left what it trained (see `prepare_extractor`).

    Raises: GanealogyError for an unknown name, or for weights that are absent or damaged.
    """
    module = components.load(KIND, name, WHERE)
    extractor: Extractor = module.load(device, reference) if hasattr(module, "prepare") else module.load(device)
    return extractor


def prepare_extractor(name: str, device: str, packed_directory: Path, reference: Path) -> None:
    """Let an extractor that learns from the data do so: `prepare(packed_directory, reference, device)` of its file.

    Raises: GanealogyError for an unknown name, or for data that it cannot learn from.
    """
    module = components.load(KIND, name, WHERE)
    if hasattr(module, "prepare"):
        module.prepare(packed_directory, reference, device)


def extract(
    extractor: Extractor, images: NDArray[np.uint8], label: str, kept: Path | None = None, device: str = "cpu"
) -> FeatureSet:
    """Of a network they are taken from the directory `kept`, or left there (see cache.py).

    `device`: where the metrics will be computed from them.

    Raises: GanealogyError unless `images` is uint8 (N >= 1, H, W, 1 or 3).
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise GanealogyError(f"{label}: expected uint8 images (N, H, W, 1 or 3), got {images.dtype} {images.shape}")
    together = distributed.world_size() > 1
    path = kept / f"{feature_cache.key(extractor, images)}.npy" if kept is not None and extractor.network else None
    # Where ranks share the work all must do their part, also when one of them has just left the whole.
    if (
        path is not None
        and not together
        and (found := feature_cache.read(path)) is not None
        and len(found) == len(images)
    ):
        return FeatureSet(found, device)

    def compute(rows: slice) -> NDArray[np.float32]:
        parts = []
        with Progress(f"{label} · {extractor.name}", rows.stop - rows.start, "images") as progress:
            for start in range(rows.start, rows.stop, CHUNK):
                parts.append(extractor.features(images[start : min(start + CHUNK, rows.stop)]))
                progress.update(len(parts[-1]))
        return np.concatenate(parts)

    width = extractor.features(images[:1]).shape[1] if together else extractor.dimension
    features = distributed.sharded_map(len(images), CHUNK, width, compute)
    if path is not None and distributed.is_first():
        feature_cache.write(path, features)
    return FeatureSet(features, device)
