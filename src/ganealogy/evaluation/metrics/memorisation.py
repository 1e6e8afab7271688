"""Whether samples lie nearer to the training pictures than to held-out ones, which the generator never saw.

Both come from one distribution, so a generator that learnt it is as near to either. The sides differ in number, and
the nearest of more pictures is nearer: that is set right by weight. (Training pictures subsampled to the holdout's
number would lose most of those that were copied: at nine to one a generator that only copies would score 0.56.)

The test is of the kind of Meehan, Chaudhuri and Dasgupta (arXiv 2004.05675), by permutation: were training and
held-out pictures exchangeable, any split of them would do. It keeps the samples and the reals as they are, so that many
samples about one real picture count as one piece of evidence and not as many. Early generators are like that: by
EfficientNet's features 500 samples of one had 42 nearest pictures among 2,000, and 476 samples were nearer to a
training picture than to a held-out one; a binomial test says p = 1e-33 to that, this one 0.19.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import NamedTuple

import numpy as np

from ganealogy.evaluation.metrics.neighbours import Indices, Matrix

ALPHA = 0.001
LARGE = 0.75
"""Share from which on it is called memorised: three samples near a training picture to one near a held-out one."""


class Memorisation(NamedTuple):
    share: float
    """Of samples nearer to a training picture, with both sides counted as equally many: 0.5 where nothing is copied."""
    p: float
    """One-sided, of the permutation of training and held-out pictures; normal approximation."""

    @property
    def flag(self) -> bool:
        return self.p < ALPHA and self.share >= LARGE


def memorisation(
    to_train: tuple[Indices, Matrix], to_holdout: tuple[Indices, Matrix], train: int, holdout: int
) -> Memorisation:
    """`to_train`, `to_holdout`: of each sample the nearest picture's index and distance, each (n,).

    `train` and `holdout` are the numbers of pictures looked among. A sample as far from both counts half for each.
    """
    (near_train, train_distance), (near_holdout, holdout_distance) = to_train, to_holdout
    nearer = np.where(train_distance == holdout_distance, 0.5, train_distance < holdout_distance)
    weights = np.concatenate(  # of each real picture, the samples that it is the nearest of
        [np.bincount(near_train, nearer, train), np.bincount(near_holdout, 1 - nearer, holdout)]
    )
    pictures, samples = train + holdout, len(nearer)
    expected = samples * train / pictures
    counted = float(nearer.sum())
    # Variance of the sum of `train` weights drawn without replacement.
    spread = float(((weights - weights.mean()) ** 2).sum() * train * holdout / (pictures * (pictures - 1)))
    p = erfc((counted - expected) / sqrt(2 * spread)) / 2 if spread > 0 else 1.0
    per_train, per_holdout = counted / train, (samples - counted) / holdout
    return Memorisation(per_train / (per_train + per_holdout), p)
