"""Power analysis: how many seeds the verdict on an edge needs, from the spread of its existing pairs of seeds.

The power is that of the lifted t at one look, at its own level at Holm's first step (noncentral t). The spread of the
differences is estimated from the edge's pairs and the tree's, so it is uncertain, and the number of seeds with it:
`RequiredSeeds` gives both ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ganealogy.errors import GanealogyError
from ganealogy.verdicts.looks import LOOKS, NO_SPREAD, complete, critical, tree_spread
from ganealogy.verdicts.significance import Edge

DIFFERENCES = (0.05, 0.10, 0.20, 0.50)
LEVEL = 0.80
"""Of the interval of the spread."""
CERTAIN = 30.0
"""Noncentrality above which every look detects the difference (power above 1 - 1e-9)."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the differences between child and parent over seeds, with its 80 % interval.

    On the log scale a standard deviation of 0.1 is about 10 % of the distance. On the linear scale differences are
    relative to `unit`, the absolute value of the parent's mean.
    """

    deviation: float
    low: float
    high: float
    freedom: int
    """Degrees of freedom of the estimate."""
    tree_freedom: int
    """Those among them that the tree's spread counts for."""
    family: int
    """Edges of the tree."""
    log: bool
    unit: float

    def effect(self, difference: float) -> float:
        """Return `difference` on the scale of comparison.

        0.1 means: the larger value is 1.1 times the smaller (log), or they differ by 0.1 of the parent's mean (linear).
        """
        return math.log1p(difference) if self.log else difference * self.unit

    def difference(self, effect: float) -> float:
        """Return the inverse of `effect`."""
        return math.expm1(effect) if self.log else effect / self.unit

    def power(self, effect: float, look: int, deviation: float | None = None) -> float:
        """Return the probability that the look at so many seeds detects `effect`, in the effect's direction."""
        noncentrality = effect * math.sqrt(look) / (deviation or self.deviation)
        if noncentrality > CERTAIN:
            return 1.0
        from scipy.special import nctdtr

        freedom = look - 1 + self.tree_freedom
        return 1 - float(nctdtr(freedom, noncentrality, critical(look, self.family, freedom)))

    def look_for(self, effect: float, target: float, deviation: float | None = None) -> int | None:
        """Return the first look with this power; None if the last one has less."""
        return next((look for look in LOOKS if self.power(effect, look, deviation) >= target), None)


@dataclass(frozen=True)
class RequiredSeeds:
    """Seeds of both versions that detect `difference` with the requested power; None: more than the last look has."""

    difference: float
    seeds: int | None
    low: int | None
    """At the lower end of the spread's interval."""
    high: int | None
    """At its upper end."""


def spread(edge: Edge, family: Mapping[str, Edge]) -> Spread:
    """Return the spread of an edge of this family.

    Raises: GanealogyError with fewer than two complete pairs, without any spread, or for a parent whose mean is 0.
    """
    differences, tree = complete(edge.pairs), tree_spread(each.pairs for each in family.values())
    if len(differences) < 2:
        raise GanealogyError(
            f"{len(differences)} seeds of both {edge.child} and {edge.parent} have a {edge.metric}: the spread over "
            "seeds needs at least two; add seeds to tree.seeds in params.yaml, then run: dvc repro"
        )
    freedom = len(differences) - 1 + tree.freedom
    squares = tree.freedom * tree.variance + (len(differences) - 1) * float(differences.var(ddof=1))
    if math.sqrt(squares) < NO_SPREAD:
        raise GanealogyError(
            f"{edge.metric} of {edge.child} and {edge.parent} differs by the same number for every seed: without a "
            "spread no number of seeds can be computed; add seeds to tree.seeds in params.yaml, then run: dvc repro"
        )
    values = [value for value in edge.values[edge.parent].values() if math.isfinite(value)]
    unit = abs(sum(values)) / len(values)
    if not edge.log and unit == 0:
        raise GanealogyError(f"the mean {edge.metric} of {edge.parent} is 0: no relative difference can be computed")
    from scipy.special import chdtri  # upper-tail quantile of chi-squared

    low, high = (math.sqrt(squares / float(chdtri(freedom, tail))) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Spread(math.sqrt(squares / freedom), low, high, freedom, tree.freedom, len(family), edge.log, unit)


def required_seeds(spread: Spread, differences: Sequence[float], target: float) -> list[RequiredSeeds]:
    """Return the seeds for each difference, smallest difference first."""
    return [
        RequiredSeeds(
            difference,
            *(spread.look_for(spread.effect(difference), target, sd) for sd in (None, spread.low, spread.high)),
        )
        for difference in sorted(set(differences))
    ]


def smallest_effect(spread: Spread, seeds: int, target: float) -> float | None:
    """Return the smallest effect that the last look within `seeds` detects; None before the first look."""
    reached = [look for look in LOOKS if look <= seeds]
    if not reached:
        return None
    from scipy.optimize import brentq

    top = CERTAIN * spread.deviation / math.sqrt(reached[-1])
    return float(brentq(lambda effect: spread.power(effect, reached[-1]) - target, 0.0, top))


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
