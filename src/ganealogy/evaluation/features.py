"""Features of whole image sets, with progress, sharding and a cache."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.evaluation import feature_cache
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.extractors._network import NetworkExtractor
from ganealogy.evaluation.metrics import kid, neighbours, prdc
from ganealogy.evaluation.metrics.frechet import Moments
from ganealogy.evaluation.metrics.neighbours import Matrix
from ganealogy.evaluation.metrics.whitened import Block, Whitening
from ganealogy.runtime import distributed
from ganealogy.runtime.progress import Progress
from ganealogy.workspace import REFERENCE

KIND = "evaluation.extractors"
SETTING = "params.yaml: evaluate.extractors"
CHUNK = 256
"""Images per update of the progress bar; a multiple of every extractor's batch size."""


class FeatureSet:
    """Features (N, d) of a set of images, and derived values that several metrics share, computed once.

    They are computed on `device` if it is an NVIDIA GPU, else on the CPU: Apple's GPUs have no float64.
    """

    def __init__(self, values: NDArray[np.float32], device: str = "cpu") -> None:
        self.values, self.device = values, device if torch.device(device).type == "cuda" else "cpu"
        self.kernel_sums: dict[kid.Setup, Matrix] = {}
        """Results of `kernel_sums_as_reals`, also those read from the reference."""
        self.whitenings: dict[str, Whitening] = {}
        """Results of `whitening` by the block's name, also those read from the reference."""

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def moments(self) -> Moments:
        return moments(self.values, self.device)

    @cached_property
    def squared_spacings(self) -> Matrix:
        """Squared distances of each to its k nearest others, ascending, with prdc's k: (N, k).

        Raises: GanealogyError for k images or fewer.
        """
        if len(self) <= prdc.K:
            raise GanealogyError(f"needs more than {prdc.K} images per side, there are {len(self)}")
        return neighbours.squared_spacings(self.values, prdc.K, self.device)

    def squared_radii(self, k: int = prdc.K) -> Matrix:
        """Return the squared distance of each to its k-th nearest other, k up to prdc's: (N,).

        Raises: GanealogyError for as many images as prdc's k, or fewer.
        """
        return self.squared_spacings[:, k - 1].copy()

    def kernel_sums_as_reals(self, setup: kid.Setup) -> Matrix:
        """Return KID's kernel sums within each subset, with these features as the setup's second set: (subsets,)."""
        if setup not in self.kernel_sums:
            self.kernel_sums[setup] = kid.sums_within(self.values, setup, 1, self.device)
        return self.kernel_sums[setup]

    def whitening(self, block: Block) -> Whitening:
        """Return the whitened components of these features, as the reals'.

        Raises: GanealogyError for fewer than two images, or for reals without variance.
        """
        if block.name not in self.whitenings:
            self.whitenings[block.name] = Whitening.of(self.values[:, block.columns], block.components, block.unseen)
        return self.whitenings[block.name]


def moments(values: NDArray[Any], device: str) -> Moments:
    """Return `Moments.of` features (N, d), with the covariance computed on the GPU if `device` is one.

    `Moments.of` is used on a CPU, where numpy takes half of torch's time because it exploits the symmetry; for fewer
    images than dimensions, which need no covariance; and for invalid features, which it rejects.
    """
    on_gpu = device != "cpu" and len(values) >= values.shape[1] and np.isfinite(values).all()
    return moments_by_torch(values, device) if on_gpu else Moments.of(values)


def moments_by_torch(values: NDArray[Any], device: str) -> Moments:
    """Compute the moments of finite features (N >= d, d) with torch, on any device."""
    rows = neighbours.to_device(values, device).to(torch.float64, copy=True)
    mean = rows.mean(dim=0)
    rows -= mean
    rows /= (len(rows) - 1) ** 0.5
    return Moments(mean.cpu().numpy(), covariance=(rows.T @ rows).cpu().numpy())


def extractor_class(extractor: str) -> type:
    """Return the class of an extractor, without loading its weights."""
    members = vars(components.load(KIND, extractor)).values()
    own = [each for each in members if isinstance(each, type) and getattr(each, "name", None) == extractor]
    return own[0] if own else NetworkExtractor


def load_extractor(name: str, device: str, reference: Path = REFERENCE) -> Extractor:
    """Load an extractor. `reference`: the directory of extractors trained on the data (see `prepare_extractor`).

    Raises: GanealogyError for an unknown name, or for weights that are absent or damaged.
    """
    module = components.load(KIND, name, SETTING)
    return module.load(device, reference) if hasattr(module, "prepare") else module.load(device)


def prepare_extractor(name: str, device: str, packed_directory: Path, reference: Path) -> None:
    """Train an extractor on the data if its file defines `prepare`, and write it into `reference`.

    Raises: GanealogyError for an unknown name, or for data that it cannot be trained on.
    """
    module = components.load(KIND, name, SETTING)
    if hasattr(module, "prepare"):
        module.prepare(packed_directory, reference, device)


def extract(
    extractor: Extractor, images: NDArray[np.uint8], label: str, cache_dir: Path | None = None, device: str = "cpu"
) -> FeatureSet:
    """Return the features of all images; a network's are read from `cache_dir`, or written there.

    `label` names the images in the progress bar and in errors. `device`: where metrics will be computed.

    Raises: GanealogyError unless `images` is uint8 (N >= 1, H, W, 1 or 3).
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise GanealogyError(f"{label}: expected uint8 images (N, H, W, 1 or 3), got {images.dtype} {images.shape}")
    sharded = distributed.world_size() > 1
    path = None
    if cache_dir is not None and extractor.network:
        path = cache_dir / f"{feature_cache.key(extractor, images)}.npy"
        # All ranks must compute their shard: one that read the first rank's new file would leave the others waiting.
        cached = None if sharded else feature_cache.read(path)
        if cached is not None and len(cached) == len(images):
            return FeatureSet(cached, device)

    def compute(rows: slice) -> NDArray[np.float32]:
        parts = []
        with Progress(f"{label} · {extractor.name}", rows.stop - rows.start, "images") as progress:
            for start in range(rows.start, rows.stop, CHUNK):
                parts.append(extractor.features(images[start : min(start + CHUNK, rows.stop)]))
                progress.update(len(parts[-1]))
        return np.concatenate(parts)

    width = extractor.features(images[:1]).shape[1] if sharded else extractor.dimension
    features = distributed.sharded_map(len(images), CHUNK, width, compute)
    if path is not None and distributed.is_first():
        feature_cache.write(path, features)
    return FeatureSet(features, device)
