"""What a classifier of the data's own classes says of generated pictures: which classes appear, and how surely.

For digits it takes the place of the Inception score, which asks a network of photographs. N pictures, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError

APPEARS = 0.01
"""Share of the pictures that must be taken for a class before it counts as drawn: a tenth of MNIST's own shares, and
above what a classifier with 99 % accuracy confuses."""


def class_metrics(probabilities: NDArray[Any]) -> dict[str, float]:
    """Of probabilities (N, K); `{}` is the extractor's name.

    `digits_{}`: classes that appear (see APPEARS), at most K. `digit_entropy_{}`: entropy in nats of the predicted
    classes' shares, at most ln K (2.303 for ten digits). `classifier_score_{}`: the Inception score's formula on these
    probabilities, exp E[KL(p(y|x) || p(y))] over all pictures at once (Salimans et al., arXiv 1606.03498, without
    splits): 1 to K, and K where every class is drawn equally often and none in doubt.

    Raises: GanealogyError when there is no picture, or a probability is NaN.
    """
    p = np.asarray(probabilities, np.float64)
    if not len(p) or not np.isfinite(p).all():
        raise GanealogyError("the classifier's probabilities are absent or NaN: the images or the weights are damaged")
    shares = np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)
    marginal = p.mean(axis=0)
    score = np.exp(_entropy(marginal) - np.mean([_entropy(row) for row in p]))
    return {
        "digits_{}": float((shares >= APPEARS).sum()),
        "digit_entropy_{}": _entropy(shares),
        "classifier_score_{}": float(score),
    }


def _entropy(p: NDArray[np.float64]) -> float:
    """In nats; of an impossible event it takes nothing."""
    possible = p[p > 0]
    return float(-(possible * np.log(possible)).sum()) + 0.0  # no negative zero
