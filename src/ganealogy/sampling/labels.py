"""Which class each sample of a conditional generator is drawn for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def proportional_labels(class_counts: Sequence[int], count: int) -> NDArray[np.int64]:
    """Return classes (count,) in the proportions of the training pictures, mixed evenly.

    A distance compares the samples with all real pictures, so another mix of classes would count as a fault of the
    generator. For equal counts: 0, 1, …, K-1, 0, 1, …. Fewer labels are the first of more.

    `class_counts`: training pictures of each class.
    """
    shares = np.asarray(class_counts, dtype=np.float64) / sum(class_counts)
    numbers = [np.arange(np.ceil(count * share) + 1) for share in shares]
    times = [(number + 0.5) / share if share else number[:0] for number, share in zip(numbers, shares, strict=True)]
    classes = np.repeat(np.arange(len(shares)), [len(each) for each in times])
    return classes[np.argsort(np.concatenate(times), kind="stable")[:count]]
