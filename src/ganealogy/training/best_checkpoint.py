"""Picks `best` while training: a Frechet distance on reals and latents of its own.

The final numbers are measured on other reals and other latents, so that they are not measured on what picked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganealogy import components
from ganealogy.data import packed
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
from ganealogy.evaluation.metrics.mmd import squared_mmd
from ganealogy.files.images import Pictures
from ganealogy.runtime import distributed
from ganealogy.sampling import latents
from ganealogy.sampling.generate import BATCH, cycled_labels, generate


class Tracker:
    def __init__(self, name: str, count: int, train_images: Pictures, latent: dict[str, Any], device: str) -> None:
        """`count`: at most so many reals, and as many fakes; `train_images`: uint8 (N, H, W, C)."""
        self.name = name
        self.extractor = components.load("evaluation.extractors", name, "params.yaml: train.tracker").load(device)
        reals = np.ascontiguousarray(train_images[packed.tracker_slice(len(train_images))][:count])
        self.features = self.extractor.features(reals)
        self.reals = Moments.of(self.features)
        self.latents = latents.sample_latents(latent, len(reals), latents.TRACKER_SEED)

    @property
    def column(self) -> str:
        """Of metrics.jsonl: what picks `best`, lower is better."""
        return f"fd_{self.name}"

    def features_of(self, generator: nn.Module) -> NDArray[np.float32]:
        """Return the features (n, d) of the generator's images: the device's part of a measurement."""
        labels = cycled_labels(generator, len(self.latents))

        def features(rows: slice) -> NDArray[np.float32]:
            found: NDArray[np.float32] = self.extractor.features(generate(generator, self.latents[rows], labels[rows]))
            return found

        return distributed.sharded_map(len(self.latents), BATCH, self.features.shape[1], features)

    def scores(self, fakes: NDArray[np.float32]) -> dict[str, float]:
        """Return column → value of features against the reals', KID where they allow it: the host's part alone."""
        measured = {self.column: frechet_distance(Moments.of(fakes), self.reals)}
        if self.extractor.network:
            measured[f"kid_{self.name}"] = squared_mmd(fakes, self.features)
        return measured


@dataclass
class Best:
    """The best generator so far, decided one tick after the other."""

    found: dict[str, Any] | None = None
    """step, kimg and score, lower is better."""
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def consider(self, candidate: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        """Take the candidate where its score is lower; nothing else may change its `weights`."""
        if self.found is None or candidate["score"] < self.found["score"]:
            self.found, self.weights = candidate, weights
