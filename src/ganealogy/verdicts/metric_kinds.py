"""Kinds of metric: names, families of the report's table, the scale of averages, and which direction is better.

A Fréchet distance is averaged and compared on the logarithm: it is positive, its spread over seeds grows with its size,
and people quote ratios of it. KID and the limit FD∞ are estimated without bias and may be below 0: both are linear.

Higher is better for precision, recall and coverage, whose best value is 1. Density, the Vendi score and the memorised
fraction have no direction: more than the reals have is not better (noise has a higher Vendi score than the reals, a
density above 1 means crowding, and a fraction below one half only means distance from the training pictures).

A metric's name is its kind and its extractor: `fd_inf_pixel8` is `fd_inf` on `pixel8`. To describe a new metric to the
report, add its kind to `KINDS`. A kind that is not listed is averaged on the linear scale.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Scale = Literal["log", "positive", "share", "linear"]
"""log: geometric mean, compared by ratios. The others have arithmetic means: positive for values above 0, share for
fractions of 1, linear for values of any sign."""


class MetricKind(NamedTuple):
    label: str
    short: str
    """The label where there is room for a word."""
    family: str
    """Button of the report's table that shows the metrics of this kind."""
    higher_is_better: bool | None
    """None: neither direction is better."""
    scale: Scale = "linear"
    distance: bool = False
    """A distance to the real images. The report marks a version whose distance is not below the mean image's."""


KINDS = {
    "fd": MetricKind("Fréchet distance", "FD", "distances", False, "log", distance=True),
    "fid": MetricKind("FID", "FID", "distances", False, "log", distance=True),
    "fd_w64": MetricKind("Whitened Fréchet distance", "FD w64", "distances", False, "log", distance=True),
    "swd": MetricKind("Sliced Wasserstein distance", "SWD", "distances", False, "log", distance=True),
    "fd_inf": MetricKind("Fréchet distance, N → ∞", "FD∞", "distances", False, distance=True),
    "kid": MetricKind("KID", "KID", "distances", False, distance=True),
    "precision": MetricKind("Precision", "Precision", "fidelity and variety", True, "share"),
    "recall": MetricKind("Recall", "Recall", "fidelity and variety", True, "share"),
    "density": MetricKind("Density", "Density", "fidelity and variety", None, "positive"),
    "coverage": MetricKind("Coverage", "Coverage", "fidelity and variety", True, "share"),
    "vendi": MetricKind("Vendi score", "Vendi", "diversity", None, "positive"),
    "diversity": MetricKind("Diversity", "Diversity", "diversity", None, "positive"),
    "is": MetricKind("Inception Score", "IS", "diversity", True, "positive"),
    "memorised": MetricKind("Memorised fraction", "Memorised", "memorisation", None, "share"),
    "copies": MetricKind("Near copies of training pictures", "Copies", "memorisation", None, "share"),
    "digits": MetricKind("Digits", "Digits", "other", True, "positive"),
    "digit_entropy": MetricKind("Digit entropy", "Digit entropy", "other", True, "positive"),
    "classifier_score": MetricKind("Classifier score", "Classifier score", "other", True, "positive"),
}
"""In the order of the report's families."""
LONGEST_FIRST = sorted(KINDS, key=len, reverse=True)


def split(metric: str) -> tuple[str, str]:
    """Return (kind, extractor): `fd_inf_effnet_lite0` → ("fd_inf", "effnet_lite0"), `fid` → ("fid", "").

    The kind of an unlisted metric is its name up to the first underscore.
    """
    for kind in LONGEST_FIRST:
        if metric == kind or metric.startswith(f"{kind}_"):
            return kind, metric[len(kind) + 1 :]
    kind, _, extractor = metric.partition("_")
    return kind, extractor


def scale(metric: str) -> Scale:
    """Return the scale of the metric's averages; `linear` for a standard error and an unlisted kind."""
    kind = _kind(metric)
    return kind.scale if kind else "linear"


def higher_is_better(metric: str) -> bool:
    """Return False for distances, and also for a metric without a direction: check `has_direction` first."""
    kind = _kind(metric)
    return bool(kind and kind.higher_is_better)


def has_direction(metric: str) -> bool:
    """Return whether higher or lower values are better: not for a standard error, or where both may be worse."""
    kind = _kind(metric)
    return kind is not None and kind.higher_is_better is not None


def is_distance(metric: str) -> bool:
    """Return whether the metric is a distance to the real images."""
    kind = _kind(metric)
    return bool(kind and kind.distance)


def _kind(metric: str) -> MetricKind | None:
    return None if metric.endswith("_se") else KINDS.get(split(metric)[0])
