"""Pick the best checkpoint during training, by a Fréchet distance on reals and latents of its own.

The final metrics use other reals and other latents, so the pick does not bias them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganealogy import components, record_types
from ganealogy.data import packed
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
from ganealogy.evaluation.metrics.mmd import squared_mmd
from ganealogy.evaluation.metrics.whitened import Whitening
from ganealogy.files.images import Pictures
from ganealogy.runtime import distributed
from ganealogy.sampling import latents
from ganealogy.sampling.generate import BATCH, generate, sample_labels


class Tracker:
    """Score generators against a fixed set of reals."""

    def __init__(
        self,
        name: str,
        count: int,
        train_images: Pictures,
        latent: record_types.Latent,
        device: str,
        class_counts: Sequence[int] | None = None,
        shown: int = 0,
    ) -> None:
        """`count`: at most this many reals, and as many fakes; `train_images`: uint8 (N, H, W, C).

        `class_counts`: of a conditional training, the pictures of each class. `shown`: fakes that `pass_of` returns.
        """
        self.name, self.latent = name, latent
        self.extractor = components.load("evaluation.extractors", name, "params.yaml: train.tracker").load(device)
        reals = np.ascontiguousarray(train_images[packed.tracker_slice(len(train_images))][:count])
        self.features = self.extractor.features(reals)
        self.distance = distance_to(self.extractor, self.features)
        mean = np.rint(reals.mean(0)).astype(np.uint8)
        self.of_mean = self.distance(self.extractor.features(mean[None]).repeat(len(reals), axis=0))
        """Distance of the mean picture, repeated: a generator that has learnt anything is nearer."""
        self.latents = latents.sample_latents(latent, len(reals), latents.TRACKER_SEED)
        self.labels = sample_labels(class_counts, len(reals))
        self.shown_latents, self.shown_labels = self.latents[:shown], self.labels[:shown]
        self.shows_more = len(self.latents) < shown
        if self.shows_more:  # few training pictures, of which it has a fifth
            self.shown_latents = latents.sample_latents(latent, shown, latents.TRACKER_SEED)
            self.shown_labels = sample_labels(class_counts, shown)

    @property
    def column(self) -> str:
        """The column of metrics.jsonl that picks the best checkpoint; lower is better."""
        return f"fd_{self.name}"

    def features_of(self, generator: nn.Module) -> NDArray[np.float32]:
        """Return the features (n, d) of the generator's images."""
        return self.pass_of(generator)[0]

    def pass_of(self, generator: nn.Module) -> tuple[NDArray[np.float32], Pictures]:
        """Return the features (n, d) of the generator's images, and those of `shown_latents`, uint8 (m, H, W, C).

        This is the part that runs on the device.
        """
        kept: list[Pictures] = []

        def features(rows: slice) -> NDArray[np.float32]:
            images = generate(generator, self.latents[rows], self.labels[rows])
            kept.append(images[: len(self.shown_latents)])
            return self.extractor.features(images)

        found = distributed.sharded_map(len(self.latents), BATCH, self.features.shape[1], features)
        if self.shows_more or distributed.world_size() > 1:  # each rank has generated its own part
            kept = [generate(generator, self.shown_latents, self.shown_labels)]
        return found, kept[0]

    def scores(self, fakes: NDArray[np.float32]) -> dict[str, float]:
        """Return column → score of features (n, d): the distance, and KID for a network's features. Runs on the CPU."""
        scores = {self.column: self.distance(fakes)}
        if self.extractor.network:
            scores[f"kid_{self.name}"] = squared_mmd(fakes, self.features)
        return scores


def distance_to(extractor: Extractor, reals: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], float]:
    """Return the extractor's distance of features (n, d) to these of the reals."""
    if not hasattr(extractor, "blocks"):
        moments = Moments.of(reals)
        return lambda fakes: frechet_distance(Moments.of(fakes), moments)
    parts: list[tuple[slice, Whitening]] = [
        (block.columns, Whitening.of(reals[:, block.columns], block.components, block.unseen))
        for block in extractor.blocks(reals.shape[1])
    ]
    return lambda fakes: max(whitening.distance(fakes[:, columns]) for columns, whitening in parts)


@dataclass
class Best:
    """The best generator so far, and the discriminator of the same step."""

    record: record_types.Best | None = None
    """step, kimg and score; lower is better. None before the first tick of the training."""
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    """Of both, under the names of a checkpoint: `generator/…`, `discriminator/…`."""
    latest: float | None = None
    """Score of the newest tick."""

    def consider(self, candidate: record_types.Best, weights: dict[str, torch.Tensor]) -> None:
        """Take the candidate if its score is lower. `weights` must not be changed afterwards.

        Step 0 is no candidate: an untrained generator must not stand for a version that only got worse.
        """
        self.latest = candidate["score"]
        if candidate["step"] == 0:
            return
        if self.record is None or candidate["score"] < self.record["score"]:
            self.record, self.weights = candidate, weights
