"""How many seeds would resolve a difference: the power of a comparison, from the spread that is already there.

The spread is pooled over both sides (equal variances are assumed, since two or three seeds cannot tell them apart), and
the power is that of the two-sided t test at the same number of seeds a side (statsmodels' noncentral t). The spread
itself is known from few seeds, so every number here is a plan and no promise: `Spread` states its own interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganealogy.errors import GanealogyError
from ganealogy.verdicts.metric_scales import scale
from ganealogy.verdicts.significance import LEVEL, SEEDS_NEEDED

DIFFERENCES = (0.05, 0.10, 0.20, 0.50)
MOST = 10_000
"""Seeds; beyond them the answer is "more than anyone trains"."""
CERTAIN = 18.0
"""A difference of so many standard errors is found by five seeds a side or more (power above 1 - 1e-6 at 0.05 / 40);
somewhat beyond it the noncentral t is NaN."""


@dataclass(frozen=True)
class Spread:
    """Pooled standard deviation over seeds on the scale of comparison, with its 95 % interval, and what 100 % is there.

    On the log scale a standard deviation of 0.1 is about 10 % of the distance; on the linear one `unit` is the size of
    the parent's mean.
    """

    deviation: float
    low: float
    high: float
    freedom: int
    log: bool
    unit: float

    def effect(self, difference: float) -> float:
        """`difference` (0.1: the larger is 1.1 times the smaller, or differs by a tenth of the parent's mean) in
        standard deviations."""
        return (math.log1p(difference) if self.log else difference * self.unit) / self.deviation

    def difference(self, effect: float) -> float:
        """The inverse of `effect`."""
        return math.expm1(effect * self.deviation) if self.log else effect * self.deviation / self.unit


@dataclass(frozen=True)
class Need:
    """Seeds a side that resolve `difference` with the power asked: at alpha (one edge alone, or Holm's last step) and
    at alpha / edges (Holm's first). None: more than `MOST`."""

    difference: float
    alone: int | None
    strictest: int | None


def spread(metric: str, child: Sequence[float], parent: Sequence[float]) -> Spread:
    """Pooled from both sides' finite values.

    Raises: GanealogyError with fewer than two values a side, without any spread, or where the scale fails.
    """
    log = scale(metric) == "log"
    sides = [np.array([value for value in side if math.isfinite(value)], np.float64) for side in (child, parent)]
    if min(map(len, sides)) < 2:
        raise GanealogyError(
            f"{len(sides[0])} and {len(sides[1])} seeds with a {metric}: the spread over seeds takes two of each; "
            f"train more (tree.seeds in params.yaml), then dvc repro"
        )
    if log and min(float(side.min()) for side in sides) <= 0:
        raise GanealogyError(f"{metric} is 0 or below for a seed: it has no logarithm, so no spread to plan by")
    unit = abs(float(sides[1].mean()))
    if log:
        sides = [np.log(side) for side in sides]
    freedom = sum(map(len, sides)) - 2
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    deviation = math.sqrt(squares / freedom)
    if deviation <= 1e-12 * (1.0 if log else max(unit, 1e-300)):
        raise GanealogyError(f"{metric} is the same for every seed of each: without a spread no number can be planned")
    if not log and unit == 0:
        raise GanealogyError(f"the parent's mean {metric} is 0: a share of it is no difference to plan by")
    from scipy.special import chdtri  # upper-tail quantile of chi-squared

    low, high = (math.sqrt(squares / float(chdtri(freedom, tail))) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Spread(deviation, low, high, freedom, log, unit)


def power(effect: float, child: int, parent: int, alpha: float) -> float:
    """Chance that a two-sided t test of so many seeds finds a difference of `effect` standard deviations."""
    if effect * math.sqrt(child * parent / (child + parent)) >= CERTAIN:
        return 1.0
    from statsmodels.stats.power import TTestIndPower

    # The tail on the effect's own side: the other is a find in the wrong direction, and NaN where it is tiny.
    return float(TTestIndPower().power(effect, child, alpha / 2, ratio=parent / child, alternative="larger"))


def seeds_for(effect: float, wanted: float, alpha: float) -> int | None:
    """The fewest seeds a side, five at least, whose power reaches `wanted`; None above `MOST`."""
    low, high = SEEDS_NEEDED, SEEDS_NEEDED
    while power(effect, high, high, alpha) < wanted:
        if high >= MOST:
            return None
        low, high = high + 1, min(2 * high, MOST)
    while low < high:
        middle = (low + high) // 2
        if power(effect, middle, middle, alpha) < wanted:
            low = middle + 1
        else:
            high = middle
    return high


def smallest_effect(child: int, parent: int, wanted: float, alpha: float) -> float | None:
    """The smallest difference, in standard deviations, that so many seeds resolve; None below five a side."""
    if min(child, parent) < SEEDS_NEEDED:
        return None
    from scipy.optimize import brentq

    return float(brentq(lambda effect: power(effect, child, parent, alpha) - wanted, 1e-6, CERTAIN))


def needs(found: Spread, differences: Sequence[float], wanted: float, edges: int, alpha: float) -> list[Need]:
    """For each difference, the seeds a side at alpha and at alpha / edges."""
    rows = []
    for difference in sorted(set(differences)):
        effect = found.effect(difference)
        rows.append(Need(difference, seeds_for(effect, wanted, alpha), seeds_for(effect, wanted, alpha / edges)))
    return rows


def parse_share(text: str) -> float:
    """ "10%", "10 %" and "0.1" → 0.1.

    Raises: GanealogyError for anything else: "10" alone could mean either.
    """
    stripped = text.strip()
    try:
        share = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 10 or (share >= 1 and not stripped.endswith("%")):
        raise GanealogyError(f"{text!r} is no share: write 10% or 0.1, above 0 and up to 1000%")
    return share
