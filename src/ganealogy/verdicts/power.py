"""Power analysis: how many seeds a comparison needs, from the spread of the existing seeds.

The spread is pooled over both versions: two or three seeds each cannot show unequal variances. The power is that of the
two-sided t test with equal numbers of seeds (statsmodels' noncentral t). Few seeds estimate the spread itself only
roughly, so every number here is a plan, not a guarantee; `Spread` gives its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganealogy.errors import GanealogyError
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import LEVEL, SEEDS_NEEDED

DIFFERENCES = (0.05, 0.10, 0.20, 0.50)
MAX_SEEDS = 10_000
"""The search for a number of seeds ends here."""
CERTAIN = 18.0
"""Difference in standard errors that five or more seeds per version always detect (power above 1 - 1e-6 at alpha
0.05 / 40). Somewhat above it, the noncentral t is NaN."""


@dataclass(frozen=True)
class Spread:
    """Pooled standard deviation over seeds on the scale of comparison, with its 95 % interval.

    On the log scale a standard deviation of 0.1 is about 10 % of the distance. On the linear scale differences are
    relative to `unit`, the absolute value of the parent's mean.
    """

    deviation: float
    low: float
    high: float
    freedom: int
    log: bool
    unit: float

    def effect(self, difference: float) -> float:
        """Return `difference` in standard deviations.

        0.1 means: the larger value is 1.1 times the smaller (log), or they differ by 0.1 of the parent's mean (linear).
        """
        return (math.log1p(difference) if self.log else difference * self.unit) / self.deviation

    def difference(self, effect: float) -> float:
        """Return the inverse of `effect`."""
        return math.expm1(effect * self.deviation) if self.log else effect * self.deviation / self.unit


@dataclass(frozen=True)
class RequiredSeeds:
    """Seeds per version that detect `difference` with the requested power; None: more than `MAX_SEEDS`."""

    difference: float
    alone: int | None
    """At alpha: a single edge, or Holm's last step."""
    strictest: int | None
    """At alpha / edges: Holm's first step."""


def spread(metric: str, child: Sequence[float], parent: Sequence[float]) -> Spread:
    """Return the spread over seeds, pooled from the finite values of both versions.

    Raises: GanealogyError with fewer than two values per version, without any spread, or for values that the metric's
    scale does not allow.
    """
    log = scale(metric) == "log"
    sides = [np.array([value for value in side if math.isfinite(value)], np.float64) for side in (child, parent)]
    if min(map(len, sides)) < 2:
        raise GanealogyError(
            f"{len(sides[0])} and {len(sides[1])} seeds with a {metric}: the spread over seeds needs at least two of "
            f"each version; add seeds to tree.seeds in params.yaml, then run: dvc repro"
        )
    if log and min(float(side.min()) for side in sides) <= 0:
        raise GanealogyError(f"{metric} is 0 or below for a seed: it has no logarithm; choose another with --metric")
    unit = abs(float(sides[1].mean()))
    if log:
        sides = [np.log(side) for side in sides]
    freedom = sum(map(len, sides)) - 2
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    deviation = math.sqrt(squares / freedom)
    if deviation <= 1e-12 * (1.0 if log else max(unit, 1e-300)):
        raise GanealogyError(
            f"{metric} is the same for every seed of each version: without a spread no number of seeds can be "
            "computed; choose another with --metric"
        )
    if not log and unit == 0:
        raise GanealogyError(f"the parent's mean {metric} is 0: no relative difference; choose another with --metric")
    from scipy.special import chdtri  # upper-tail quantile of chi-squared

    low, high = (math.sqrt(squares / float(chdtri(freedom, tail))) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Spread(deviation, low, high, freedom, log, unit)


def power(effect: float, child: int, parent: int, alpha: float) -> float:
    """Return the probability that a two-sided t test detects a difference of `effect` standard deviations.

    `child` and `parent` are the numbers of seeds.
    """
    if effect * math.sqrt(child * parent / (child + parent)) >= CERTAIN:
        return 1.0
    from statsmodels.stats.power import TTestIndPower

    # The tail on the effect's own side. The other tail is a detection in the wrong direction, and NaN where it is tiny.
    return float(TTestIndPower().power(effect, child, alpha / 2, ratio=parent / child, alternative="larger"))


def seeds_for(effect: float, target_power: float, alpha: float) -> int | None:
    """Return the fewest seeds per version, at least five, that reach `target_power`; None above `MAX_SEEDS`."""
    low, high = SEEDS_NEEDED, SEEDS_NEEDED
    while power(effect, high, high, alpha) < target_power:
        if high >= MAX_SEEDS:
            return None
        low, high = high + 1, min(2 * high, MAX_SEEDS)
    while low < high:
        middle = (low + high) // 2
        if power(effect, middle, middle, alpha) < target_power:
            low = middle + 1
        else:
            high = middle
    return high


def smallest_effect(child: int, parent: int, target_power: float, alpha: float) -> float | None:
    """Return the smallest difference, in standard deviations, that these numbers of seeds detect.

    None with fewer than five seeds of either version.
    """
    if min(child, parent) < SEEDS_NEEDED:
        return None
    from scipy.optimize import brentq

    return float(brentq(lambda effect: power(effect, child, parent, alpha) - target_power, 1e-6, CERTAIN))


def required_seeds(
    spread: Spread, differences: Sequence[float], target_power: float, edges: int, alpha: float
) -> list[RequiredSeeds]:
    """Return the seeds per version for each difference, at alpha and at alpha / edges, smallest difference first."""
    rows = []
    for difference in sorted(set(differences)):
        effect = spread.effect(difference)
        alone, strictest = (seeds_for(effect, target_power, level) for level in (alpha, alpha / edges))
        rows.append(RequiredSeeds(difference, alone, strictest))
    return rows


def parse_fraction(text: str) -> float:
    """Parse a fraction: "10%", "10 %" and "0.1" → 0.1.

    Raises: GanealogyError for anything else. "10" alone could mean either.
    """
    stripped = text.strip()
    try:
        fraction = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        fraction = math.nan
    if not 0 < fraction <= 10 or (fraction >= 1 and not stripped.endswith("%")):
        raise GanealogyError(f"{text!r} is not a fraction: write 10% or 0.1, above 0 and up to 1000%")
    return fraction
