"""Class coverage and certainty of generated pictures, by a classifier of the data set's own classes.

Replaces the Inception score for digits: Inception classifies photographs. N pictures, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

MIN_CLASS_FRACTION = 0.01
"""Fraction of the pictures above which a class counts as generated: a tenth of MNIST's class frequencies, and above the
confusion rate of a classifier with 99 % accuracy."""


def class_metrics(probabilities: NDArray[Any]) -> dict[str, float]:
    """Return three metrics of probabilities (N, K); `{}` in a name stands for the extractor.

    - `digits_{}`: number of generated classes (see MIN_CLASS_FRACTION), at most K.
    - `digit_entropy_{}`: entropy in nats of the predicted classes' frequencies, at most ln K (2.303 for ten digits).
    - `classifier_score_{}`: exp E[KL(p(y|x) || p(y))], the Inception score (Salimans et al., arXiv 1606.03498) without
      splits. From 1 to K; K when all classes are equally frequent and every prediction is certain.

    Raises: GanealogyError for no pictures, or for NaN probabilities.
    """
    p = np.asarray(probabilities, np.float64)
    if not len(p) or not np.isfinite(p).all():
        raise GanealogyError("the classifier's probabilities are absent or NaN: the images or the weights are damaged")
    frequencies = np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)
    marginal = p.mean(axis=0)
    score = np.exp(_entropy(marginal) - np.mean([_entropy(row) for row in p]))
    return {
        "digits_{}": float((frequencies >= MIN_CLASS_FRACTION).sum()),
        "digit_entropy_{}": _entropy(frequencies),
        "classifier_score_{}": float(score),
    }


def _entropy(p: NDArray[np.float64]) -> float:
    """Return the entropy in nats, with 0 log 0 = 0."""
    possible = p[p > 0]
    return float(-(possible * np.log(possible)).sum()) + 0.0  # + 0.0 turns -0.0 into 0.0
