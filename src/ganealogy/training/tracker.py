"""Picks `best` while training: a Frechet distance on reals and latents of its own.

The final numbers are measured on other reals and other latents, so that they are not measured on what picked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from ganealogy import components
from ganealogy.data import packed
from ganealogy.evaluation.frechet import Moments, frechet_distance
from ganealogy.images import Pictures
from ganealogy.networks import latents
from ganealogy.networks.generation import generate


class Tracker:
    def __init__(self, name: str, count: int, train_images: Pictures, latent: dict[str, Any], device: str) -> None:
        """`count`: at most so many reals, and as many fakes; `train_images`: uint8 (N, H, W, C)."""
        self.name = name
        self.extractor = components.load("evaluation.extractors", name, "params.yaml: train.tracker").load(device)
        reals = np.ascontiguousarray(train_images[packed.tracker_slice(len(train_images))][:count])
        self.reals = Moments.of(self.extractor.features(reals))
        self.latents = latents.draw(latent, len(reals), latents.TRACKER_SEED)

    def score(self, generator: nn.Module) -> float:
        """The distance of the generator's images to the tracker's reals; lower is better."""
        fakes = generate(generator, self.latents)
        return frechet_distance(Moments.of(self.extractor.features(fakes)), self.reals)
