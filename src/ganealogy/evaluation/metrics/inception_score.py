"""The Inception score: exp of the mean divergence of class probabilities from their mean (arXiv 1606.03498)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

SPLITS = 10
SEED = 2020


def inception_score(logits: NDArray[Any], splits: int = SPLITS, seed: int = SEED) -> float:
    """Mean over random splits of the images; logits (n, classes). 1 where every image is classified alike.

    Raises: GanealogyError for fewer images than splits.
    """
    from scipy.special import log_softmax  # here, as extractors without classes need not wait for scipy

    count = len(logits)
    if count < splits:
        raise GanealogyError(f"needs an image in each of its {splits} splits, there are {count}")
    shuffled = np.random.RandomState(seed).permutation(count)
    scores = []
    for index in range(splits):
        chosen = shuffled[index * count // splits : (index + 1) * count // splits]
        part = log_softmax(logits[chosen].astype(np.float64), axis=1)
        probabilities = np.exp(part)
        marginal = np.log(probabilities.mean(axis=0).clip(min=np.finfo(np.float64).tiny))
        scores.append(np.exp((probabilities * (part - marginal)).sum(axis=1).mean()))
    return float(np.mean(scores))
