"""Picks `best` while training: a Frechet distance on reals and latents of its own.

The final numbers are measured on other reals and other latents, so that they are not measured on what picked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ganealogy import components, ranks
from ganealogy.data import packed
from ganealogy.evaluation.frechet import Moments, frechet_distance
from ganealogy.evaluation.mmd import squared_mmd
from ganealogy.images import Pictures
from ganealogy.networks import latents
from ganealogy.networks.generation import BATCH, generate, turns


class Tracker:
    def __init__(self, name: str, count: int, train_images: Pictures, latent: dict[str, Any], device: str) -> None:
        """`count`: at most so many reals, and as many fakes; `train_images`: uint8 (N, H, W, C)."""
        self.name = name
        self.extractor = components.load("evaluation.extractors", name, "params.yaml: train.tracker").load(device)
        reals = np.ascontiguousarray(train_images[packed.tracker_slice(len(train_images))][:count])
        self.features = self.extractor.features(reals)
        self.reals = Moments.of(self.features)
        self.latents = latents.draw(latent, len(reals), latents.TRACKER_SEED)

    @property
    def column(self) -> str:
        """Of metrics.jsonl: what picks `best`, lower is better."""
        return f"fd_{self.name}"

    def measure(self, generator: nn.Module) -> dict[str, float]:
        """Column → value for the generator's images against the tracker's reals; KID where the features allow it."""
        labels = turns(generator, len(self.latents))

        def features(rows: slice) -> NDArray[np.float32]:
            found: NDArray[np.float32] = self.extractor.features(generate(generator, self.latents[rows], labels[rows]))
            return found

        fakes = ranks.in_pieces(len(self.latents), BATCH, self.features.shape[1], features)
        measured = {self.column: frechet_distance(Moments.of(fakes), self.reals)}
        if self.extractor.network:
            measured[f"kid_{self.name}"] = squared_mmd(fakes, self.features)
        return measured
