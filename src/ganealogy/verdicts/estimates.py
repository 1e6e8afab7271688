"""Means over seeds with 95 % intervals that stay inside the metric's possible range.

Each metric has one scale (`metric_kinds`), for every version and number of seeds. A distance on the log scale has a
geometric mean and the t interval of its mean logarithm. Other metrics have an arithmetic mean; where they are positive
or a share of 1, the t interval is that of the mean's logarithm or logit, with a standard error by the delta method. It
also exists where single seeds are exactly 0 or 1.

The unit is a training, so only seeds show how much a number would change if the version were trained again. KID's block
standard error (`kid.py`) describes the samples of one training and is not used here. No FD is bootstrapped: its
bootstrap estimates lie above the FD itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ganealogy.verdicts.metric_kinds import scale

LEVEL = 0.95
"""Of each interval."""


@dataclass(frozen=True)
class Estimate:
    """Mean of a version's metric over its seeds, with the 95 % t interval.

    `values` are the finite ones; `mean` is NaN without any. `low` and `high` are None below two seeds and where all
    values are equal: no interval says more than a zero-width one.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None = None
    high: float | None = None


def mean(metric: str, values: Iterable[float]) -> float:
    """Return the mean: geometric for a metric compared on the logarithm. NaN without values.

    The geometric mean is 0 if a value is 0 or below, which a distance reaches by rounding only.
    """
    numbers = np.asarray(list(values), np.float64)
    if not numbers.size:
        return math.nan
    if scale(metric) != "log":
        middle = float(numbers.mean())
    elif numbers.min() <= 0:
        return 0.0
    else:
        middle = math.exp(np.log(numbers).mean())
    return float(np.clip(middle, numbers.min(), numbers.max()))  # rounding must not carry it past an anchor


def estimate(metric: str, values: Sequence[float]) -> Estimate:
    """Return mean and 95 % t interval over seeds, on the metric's scale. NaN and infinities count as missing."""
    finite = tuple(float(value) for value in values if math.isfinite(value))
    middle = mean(metric, finite)
    if len(finite) < 2 or np.ptp(finite) <= 1e-12 * max(map(abs, finite)):
        return Estimate(finite, middle)
    kind = scale(metric)
    if kind == "log" and middle == 0:
        return Estimate(finite, middle)
    half = half_width(np.log(finite) if kind == "log" else finite)
    if kind == "linear":
        return Estimate(finite, middle, middle - half, middle + half)
    if kind == "share" and 0 < middle < 1:
        logit, wide = math.log(middle / (1 - middle)), half / (middle * (1 - middle))
        return Estimate(finite, middle, _share(logit - wide), _share(logit + wide))
    if middle <= 0 or kind == "share":
        return Estimate(finite, middle)
    wide = half if kind == "log" else half / middle
    try:
        return Estimate(finite, middle, middle * math.exp(-wide), middle * math.exp(wide))
    except OverflowError:  # two far-apart seeds
        return Estimate(finite, middle, middle * math.exp(-wide), None)


def half_width(values: Iterable[float]) -> float:
    """Return half of the 95 % t interval of the mean of at least two values."""
    from scipy.special import stdtrit  # imports in a tenth of scipy.stats's time

    numbers = np.asarray(list(values), np.float64)
    spread = numbers.std(ddof=1) / math.sqrt(len(numbers))
    return float(stdtrit(len(numbers) - 1, (1 + LEVEL) / 2) * spread)


def _share(logit: float) -> float:
    return 0.5 * (1 + math.tanh(logit / 2))
