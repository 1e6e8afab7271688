"""Kinds of metric: names, families of the report's table, the scale of averages, and which direction is better.

A Fréchet distance is compared on the logarithm: it is positive, its spread over seeds grows with its size, and people
quote ratios of it. KID's estimate is unbiased and may be below 0, and a fraction lies in 0..1: both are linear.

A metric's name is its kind and its extractor: `fd_inf_pixel8` is `fd_inf` on `pixel8`. To describe a new metric to the
report, add its kind to `KINDS`. A kind that is not listed is averaged on the linear scale and gets no verdict.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Scale = Literal["log", "linear"]


class MetricKind(NamedTuple):
    label: str
    short: str
    """The label where there is room for a word."""
    family: str
    """Button of the report's table that shows the metrics of this kind."""
    higher_is_better: bool | None
    """None: neither direction is better, so there is no verdict."""
    scale: Scale = "linear"
    distance: bool = False
    """A distance to the real images. A version whose distance is not below the mean image's is not compared."""


KINDS = {
    "fd": MetricKind("Fréchet distance", "FD", "distances", False, "log", distance=True),
    "fid": MetricKind("FID", "FID", "distances", False, "log", distance=True),
    "fd_w64": MetricKind("Whitened Fréchet distance", "FD w64", "distances", False, "log", distance=True),
    "swd": MetricKind("Sliced Wasserstein distance", "SWD", "distances", False, "log", distance=True),
    "fd_inf": MetricKind("Fréchet distance, N → ∞", "FD∞", "distances", False, "log", distance=True),
    "kid": MetricKind("KID", "KID", "distances", False, distance=True),
    "precision": MetricKind("Precision", "Precision", "fidelity and variety", True),
    "recall": MetricKind("Recall", "Recall", "fidelity and variety", True),
    "density": MetricKind("Density", "Density", "fidelity and variety", True),
    "coverage": MetricKind("Coverage", "Coverage", "fidelity and variety", True),
    "vendi": MetricKind("Vendi score", "Vendi", "diversity", True),
    "diversity": MetricKind("Diversity", "Diversity", "diversity", None),
    "is": MetricKind("Inception Score", "IS", "diversity", True),
    "memorised": MetricKind("Memorised fraction", "Memorised", "memorisation", False),
    "copies": MetricKind("Near copies of training pictures", "Copies", "memorisation", None),
    "digits": MetricKind("Digits", "Digits", "other", True),
    "digit_entropy": MetricKind("Digit entropy", "Digit entropy", "other", True),
    "classifier_score": MetricKind("Classifier score", "Classifier score", "other", True),
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
    """Return `log` for Fréchet distances, `linear` for all other metrics."""
    kind = _kind(metric)
    return kind.scale if kind else "linear"


def higher_is_better(metric: str) -> bool:
    """Return False for distances, and also for a metric without a direction: check `has_direction` first."""
    kind = _kind(metric)
    return bool(kind and kind.higher_is_better)


def has_direction(metric: str) -> bool:
    """Return whether higher or lower values are better. A standard error and a ratio whose ideal is 1 have none."""
    kind = _kind(metric)
    return kind is not None and kind.higher_is_better is not None


def is_distance(metric: str) -> bool:
    """Return whether a version has to get below the mean image's value before it is compared."""
    kind = _kind(metric)
    return bool(kind and kind.distance)


def _kind(metric: str) -> MetricKind | None:
    return None if metric.endswith("_se") else KINDS.get(split(metric)[0])
