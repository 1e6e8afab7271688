"""Test whether samples are nearer to training pictures than to held-out pictures, which the generator never saw.

Training and held-out pictures come from one distribution, so a generator that learnt it is equally near to both. The
sides differ in size, and the nearest of more pictures is nearer; each side is therefore weighted by its size.
(Subsampling the training set to the holdout's size would lose most copied pictures: at nine to one, a generator that
only copies would score 0.56.)

The test resembles Meehan, Chaudhuri and Dasgupta's (arXiv 2004.05675). It permutes the split of the real pictures into
training and held-out, and keeps the samples. Many samples near one real picture therefore count as one observation.
Example: 500 samples of an early generator shared 42 nearest neighbours among 2,000 pictures by EfficientNet's features,
and 476 of them were nearer to a training picture. A binomial test gives p = 1e-33; this test 0.19.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import NamedTuple

import numpy as np

from ganealogy.evaluation.metrics.neighbours import Indices, Matrix

ALPHA = 0.001
MIN_FRACTION = 0.75
"""Fraction that counts as memorised: three samples near a training picture per sample near a held-out one."""


class Memorisation(NamedTuple):
    fraction: float
    """Of samples nearer to a training picture, with both sides weighted equally: 0.5 without copying."""
    p: float
    """One-sided p-value of the permutation of training and held-out pictures; normal approximation."""

    @property
    def flag(self) -> bool:
        return self.p < ALPHA and self.fraction >= MIN_FRACTION


def memorisation(
    to_train: tuple[Indices, Matrix], to_holdout: tuple[Indices, Matrix], train: int, holdout: int
) -> Memorisation:
    """Test samples by their nearest pictures on either side. A tie counts half for each side.

    `to_train`, `to_holdout`: index and distance of each sample's nearest picture, each (n,).
    `train`, `holdout`: number of pictures on each side.
    """
    (train_indices, train_distances), (holdout_indices, holdout_distances) = to_train, to_holdout
    nearer = np.where(train_distances == holdout_distances, 0.5, train_distances < holdout_distances)
    weights = np.concatenate(  # per real picture: the number of samples that it is nearest to
        [np.bincount(train_indices, nearer, train), np.bincount(holdout_indices, 1 - nearer, holdout)]
    )
    pictures, samples = train + holdout, len(nearer)
    expected = samples * train / pictures
    observed = float(nearer.sum())
    # Variance of the sum of `train` weights drawn without replacement.
    variance = float(((weights - weights.mean()) ** 2).sum() * train * holdout / (pictures * (pictures - 1)))
    p = erfc((observed - expected) / sqrt(2 * variance)) / 2 if variance > 0 else 1.0
    per_train, per_holdout = observed / train, (samples - observed) / holdout
    return Memorisation(per_train / (per_train + per_holdout), p)
