"""The statistics of one edge: pairs of seeds, the lifted t, losses, looks and Holm's correction.

An edge is looked at with its first 5, 8, 12, 20 and 40 seeds and at no other number, and each look has a share of ALPHA
that depends on that number alone. So there is no state: every report computes all looks again.

The functions import scipy.special when they are called, which takes a tenth of scipy.stats's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.04
"""Threshold of Holm's p. One in a hundred trees is left for what the lifted t approximates."""
LOOKS = {5: 1 / 2, 8: 1 / 4, 12: 1 / 8, 20: 1 / 16, 40: 1 / 16}
"""Seeds → share of ALPHA for a difference."""
EQUIVALENCE_SHARES = dict(zip(LOOKS, reversed(LOOKS.values()), strict=True))
SEEDS_NEEDED = 5
"""Pairs, for a t test."""
STIFFNESS = 6
"""The most degrees of freedom that the tree's variance counts for in the lift."""
EXCESS_LOSS = 1 / 20
"""Of a look's seeds: a side that lost this many more than the other cannot be better."""
NO_SPREAD = 1e-12
"""A standard error below it is rounding."""

Values = NDArray[np.float64]


class Pair(NamedTuple):
    """Child and parent trained with one seed."""

    difference: float
    """child − parent, on the scale of comparison; NaN if either was lost."""
    lost: int
    """1: the child alone, −1: the parent alone, 0: neither or both."""


class TreeSpread(NamedTuple):
    """Mean variance of the edges' first five pairs, and the degrees of freedom that it counts for."""

    variance: float
    freedom: int


class Look(NamedTuple):
    """The test of an edge with its first `seeds` seeds; `mean` and `error` on the scale of comparison."""

    seeds: int
    pairs: int
    """Complete ones."""
    mean: float
    error: float
    """Standard error with the lifted variance; NaN below five complete pairs, and without any spread."""
    freedom: int
    excess: int
    """Pairs lost by the child alone, less those lost by the parent alone."""
    p: float
    p_equal: float
    by_loss: bool
    """Whether `p` is that of the losses, not of the means."""

    def interval(self, family: int) -> tuple[float, float]:
        """Return the interval at this look's level, for a family of so many edges; infinite if nothing was tested."""
        if math.isnan(self.error):
            return -math.inf, math.inf
        half = critical(self.seeds, family, self.freedom) * self.error
        return self.mean - half, self.mean + half


def pairs(child: Mapping[int, float], parent: Mapping[int, float]) -> list[Pair]:
    """Return the pairs of seeds that both have, in ascending order of seeds."""
    made = []
    for seed in sorted(child.keys() & parent.keys()):
        has_child, has_parent = math.isfinite(child[seed]), math.isfinite(parent[seed])
        difference = child[seed] - parent[seed] if has_child and has_parent else math.nan
        made.append(Pair(difference, int(has_parent) - int(has_child)))
    return made


def tree_spread(edges: Iterable[Sequence[Pair]]) -> TreeSpread:
    """Return the spread of the edges with five complete pairs. It is of the first five, so that old looks stay."""
    firsts = [kept[:SEEDS_NEEDED] for edge in edges if len(kept := complete(edge)) >= SEEDS_NEEDED]
    if not firsts:
        return TreeSpread(0.0, 0)
    return TreeSpread(float(np.mean([first.var(ddof=1) for first in firsts])), min(STIFFNESS, 2 * (len(firsts) - 1)))


def look_at(edge: Sequence[Pair], spread: TreeSpread, bound: float | None) -> Look:
    """Test an edge with these seeds. `bound`: margin of equivalence on the log scale; None: no such test."""
    from scipy.special import stdtr

    differences, seeds = complete(edge), len(edge)
    count, excess = len(differences), sum(pair.lost for pair in edge)
    mean = float(differences.mean()) if count else math.nan
    error, freedom, p_mean, p_equal = math.nan, 0, 1.0, 1.0
    if count >= SEEDS_NEEDED:
        variance, freedom = float(differences.var(ddof=1)), count - 1 + spread.freedom
        lifted = max(variance, (spread.freedom * spread.variance + (count - 1) * variance) / freedom)
        error = math.sqrt(lifted / count)
        allowed = EXCESS_LOSS * seeds
        if error < NO_SPREAD:
            error = math.nan
        elif (excess if mean <= 0 else -excess) <= allowed:  # the side that seems better did not lose more seeds
            p_mean = 2 * float(stdtr(freedom, -abs(mean) / error))
            if bound is not None and abs(excess) <= allowed:
                p_equal = float(stdtr(freedom, (abs(mean) - bound) / error))
    p_lost = loss_p(excess, seeds)
    either = 2 * min(p_mean, p_lost) if count >= SEEDS_NEEDED else p_lost
    p = p_mean if count == seeds else either
    return Look(seeds, count, mean, error, freedom, excess, p, p_equal, p_mean > p_lost)


def loss_p(excess: int, seeds: int) -> float:
    """Return the two-sided p of one side losing `excess` more of so many pairs, if both lose alike.

    A pair then counts 1, 0 or −1 with probabilities of at most ¼, ½, ¼: a sum of two fair coins for each pair.
    """
    from scipy.special import bdtrc

    return min(1.0, 2 * float(bdtrc(seeds + abs(excess) - 1, 2 * seeds, 0.5))) if excess else 1.0


def critical(look: int, family: int, freedom: int) -> float:
    """Return the |t| that a difference needs at this look, at Holm's first step."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, ALPHA * LOOKS[look] / family / 2))


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values of one family; values above 1 count as 1.

    statsmodels' `multipletests` collects garbage at each call, which took 7 of the 25 s of the demo's report.
    """
    values = np.minimum(np.asarray(p, float), 1.0)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return [float(value) for value in adjusted]


def complete(edge: Iterable[Pair]) -> Values:
    """Return the differences of the pairs that neither side lost."""
    return np.array([pair.difference for pair in edge if not math.isnan(pair.difference)], np.float64)
