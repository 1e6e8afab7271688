"""Test whether samples copy training pictures, by comparing them with held-out pictures, which the generator never saw.

All training pictures must be searched: in a quarter of them, three copies of four have no near neighbour. Two tests:

- Near copies. A copy is much nearer to its original than to the next training pictures. Its ratio of the distances to
  the nearest and the fifth nearest is near 0; of pictures that the generator invents it is near 1, whether they are
  sharp, blurred or all near the mean. A sample counts as a near copy if its ratio is among the lowest 1 % of held-out
  pictures, and Fisher's exact test compares the two shares. Many samples of one training picture count once. It flags
  a generator that copies a twentieth of its samples.
- Nearer to training. Training and held-out pictures come from one distribution, so a generator that learnt it is
  equally near to both. Each side is weighted by its size, because the nearest of more pictures is nearer. It flags
  pictures too far from the original for the first test, such as shifted ones, if most samples are such.

The second test resembles Meehan, Chaudhuri and Dasgupta's (arXiv 2004.05675). It permutes the split of the real
pictures into training and held-out, and keeps the samples. Many samples near one real picture therefore count as one
observation. Example: 500 samples of an early generator shared 42 nearest neighbours among 2,000 pictures by
EfficientNet's features, and 476 of them were nearer to a training picture. A binomial test gives p = 1e-33; this test
0.19.
"""

from __future__ import annotations

from math import erfc, exp, lgamma, sqrt
from typing import NamedTuple

import numpy as np

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.neighbours import Indices, Matrix

ALPHA = 0.001
MIN_COPIES = 0.05
"""Fraction of near copies that counts as memorised."""
MIN_FRACTION = 0.75
"""Fraction nearer to training that does too: three samples near a training picture per sample near a held-out one."""
QUANTILE = 0.01
"""Fraction of held-out pictures whose ratios count as a near copy's."""
MIN_IMAGES = 50
"""Samples and held-out pictures."""


class Memorisation(NamedTuple):
    fraction: float
    """Of samples nearer to a training picture, with both sides weighted equally: 0.5 without copying."""
    p: float
    """One-sided p-value of the permutation of training and held-out pictures; normal approximation."""
    copies: float
    """Fraction of samples that are near copies: about QUANTILE without copying."""
    copies_p: float
    """One-sided p-value of Fisher's exact test against the held-out pictures."""
    originals: int
    """Distinct training pictures that the near copies are nearest to."""

    @property
    def flag(self) -> bool:
        copied = self.copies_p < ALPHA and self.copies >= MIN_COPIES
        return copied or (self.p < ALPHA and self.fraction >= MIN_FRACTION)

    @property
    def reason(self) -> str:
        """Both results, with how sure they are."""
        few = self.fraction >= MIN_FRACTION and self.p >= ALPHA
        doubt = ": too few distinct neighbours to tell" if few else ""
        of = f" of {self.originals} training pictures" if self.originals else ""
        return (
            f"{self.copies:.1%} of the samples are near copies{of} ({QUANTILE:.0%} without copying; "
            f"p = {self.copies_p:.2g}); {self.fraction:.0%} are nearer to a training picture than to "
            f"a held-out one (50% without copying; p = {self.p:.2g}{doubt})"
        )


def memorisation(
    to_train: tuple[Indices, Matrix],
    to_holdout: tuple[Indices, Matrix],
    holdout_ratios: Matrix,
    train: int,
    holdout: int,
) -> Memorisation:
    """Test samples by their nearest pictures on either side.

    `to_train`: indices and distances of each sample's nearest pictures, nearest first, each (n, 2 or more).
    `to_holdout`: the same of the nearest one, each (n,). `holdout_ratios`: `ratios` of held-out pictures to the same
    training pictures, (m,). `train`, `holdout`: number of pictures on each side.

    Raises: GanealogyError for fewer than 50 samples or held-out pictures.
    """
    samples, held_out = len(to_holdout[0]), len(holdout_ratios)
    if min(samples, held_out) < MIN_IMAGES:
        raise GanealogyError(
            f"needs {MIN_IMAGES} samples and {MIN_IMAGES} held-out pictures, there are {samples} and {held_out}"
        )
    (train_indices, train_distances), (holdout_indices, holdout_distances) = to_train, to_holdout
    limit = np.quantile(holdout_ratios, QUANTILE, method="lower")
    copied = ratios(train_distances) <= limit
    originals = len(set(train_indices[copied, 0].tolist()))
    others = int((~copied).sum())
    copies_p = fisher(originals, originals + others, int((holdout_ratios <= limit).sum()), held_out)
    nearest = train_indices[:, 0], train_distances[:, 0]
    fraction, p = _nearer(nearest, (holdout_indices, holdout_distances), train, holdout)
    return Memorisation(fraction, p, float(copied.mean()), copies_p, originals)


def ratios(distances: Matrix) -> Matrix:
    """Return the nearest distance over the last of each row of (n, k >= 2): (n,), 0 to 1; 1 where both are 0."""
    first, last = distances[:, 0], distances[:, -1]
    return np.divide(first, last, out=np.ones_like(first), where=last > 0)


def fisher(hits_a: int, count_a: int, hits_b: int, count_b: int) -> float:
    """Return the one-sided p-value of Fisher's exact test: of at least `hits_a`, given the hits of both."""
    hits, count = hits_a + hits_b, count_a + count_b
    possible = range(max(hits_a, hits - count_b), min(count_a, hits) + 1)
    logs = [_log_choose(count_a, k) + _log_choose(count_b, hits - k) - _log_choose(count, hits) for k in possible]
    return min(1.0, sum(map(exp, logs)))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _nearer(
    to_train: tuple[Indices, Matrix], to_holdout: tuple[Indices, Matrix], train: int, holdout: int
) -> tuple[float, float]:
    """Return the fraction nearer to training and its p-value. A tie counts half for each side."""
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
    return per_train / (per_train + per_holdout), p
