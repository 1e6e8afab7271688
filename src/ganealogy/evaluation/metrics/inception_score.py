"""Inception score: exp of the mean KL divergence of class probabilities from their mean (arXiv 1606.03498)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

SPLITS = 10
SEED = 2020


def inception_score(logits: NDArray[Any], splits: int = SPLITS, seed: int = SEED) -> float:
    """Return the mean score over random splits of logits (n, classes); 1 when all rows are equal.

    Raises: GanealogyError for fewer images than splits.
    """
    from scipy.special import log_softmax  # imported here: only extractors with classes need scipy

    count = len(logits)
    if count < splits:
        raise GanealogyError(f"needs at least one image in each of its {splits} splits, there are {count}")
    shuffled = np.random.RandomState(seed).permutation(count)
    scores = []
    for index in range(splits):
        rows = shuffled[index * count // splits : (index + 1) * count // splits]
        log_probabilities = log_softmax(logits[rows].astype(np.float64), axis=1)
        probabilities = np.exp(log_probabilities)
        log_marginal = np.log(probabilities.mean(axis=0).clip(min=np.finfo(np.float64).tiny))
        scores.append(np.exp((probabilities * (log_probabilities - log_marginal)).sum(axis=1).mean()))
    return float(np.mean(scores))
