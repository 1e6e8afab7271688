"""How well the samples cover each class of the real pictures, from the same neighbours as precision and recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from ganealogy.evaluation.measure import MIN_IMAGES, Comparison


class ClassCoverage(TypedDict):
    """By class number. Coverage and recall are None for a class with fewer reals than k."""

    network: bool
    """Whether the features are a network's."""
    k: int
    reals: list[int]
    coverage: list[float | None]
    """Fraction of the class's reals with a sample in their ball: see `metrics/prdc.py`."""
    recall: list[float | None]
    """Fraction of the class's reals in a sample's ball."""
    samples: list[float]
    """Fraction of the samples whose nearest training picture is of the class."""
    own: list[float | None] | None
    """Of a conditional version: fraction of the class's own samples whose nearest training picture is of it."""


def class_coverage(
    comparison: Comparison, labels: NDArray[np.int64], drawn_as: NDArray[np.int64] | None = None
) -> ClassCoverage | None:
    """Return the coverage of each class; None for too few pictures on a side.

    `labels` (N,): classes of the training pictures, of which the first are the reals. `drawn_as` (M,): of a conditional
    version, the classes that its samples were drawn for.
    """
    if min(len(comparison.fakes), len(comparison.reals)) < MIN_IMAGES:
        return None
    classes = int(labels.max()) + 1
    of_reals, manifolds = labels[: len(comparison.reals)], comparison.among_reals[1]
    sizes = np.bincount(of_reals, minlength=classes)

    def fractions(inside: NDArray[np.bool_]) -> list[float | None]:
        hits = np.bincount(of_reals[inside], minlength=classes)
        return [float(hit / size) if size >= comparison.k else None for hit, size in zip(hits, sizes, strict=True)]

    nearest = labels[comparison.neighbours[0][:, 0]]
    return {
        "network": comparison.extractor.network,
        "k": comparison.k,
        "reals": sizes.tolist(),
        "coverage": fractions(manifolds.covered.cpu().numpy()),
        "recall": fractions(manifolds.recalled.cpu().numpy()),
        "samples": (np.bincount(nearest, minlength=classes) / len(nearest)).tolist(),
        "own": None if drawn_as is None else _own(nearest, drawn_as, classes),
    }


def _own(nearest: NDArray[np.int64], drawn_as: NDArray[np.int64], classes: int) -> list[float | None]:
    """Return the fraction of each class's samples that are nearest to it; None for a class without samples."""
    counts = np.bincount(drawn_as, minlength=classes)
    hits = np.bincount(drawn_as[nearest == drawn_as], minlength=classes)
    return [float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True)]
