"""Which edges of a tree need more seeds, and up to which look: `ganealogy settle`.

An edge stops at a word, at the last look allowed, and from 12 seeds on when neither word is likely any more. The words'
error rates hold whatever is decided here: each look has its share of ALPHA, taken or not (`looks.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ganealogy.verdicts import looks, significance
from ganealogy.verdicts.looks import ALPHA, EQUIVALENCE_SHARES, LOOKS, Look
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import (
    BARRED,
    BETTER,
    DIVERGES_LESS,
    DIVERGES_MORE,
    EQUIVALENT,
    NOT_YET,
    WORSE,
    Verdict,
)

WORDS = {BETTER, WORSE, EQUIVALENT, DIVERGES_MORE, DIVERGES_LESS}
HOPELESS_FROM, HOPELESS = 12, 0.20
"""From so many seeds on, an edge stops if both words have less than this probability at the last look."""


@dataclass(frozen=True)
class EdgeState:
    """An edge between looks."""

    child: str
    parent: str
    verdict: Verdict
    pairs: int
    """Seeds that both have."""
    next_look: int | None
    """Seeds that both need next; None where the edge stops."""
    why: str = ""
    """Why it stops."""


def states(
    metric: str,
    values: Mapping[str, Mapping[int, float]],
    parents: Mapping[str, str | None],
    *,
    at_most: int = max(LOOKS),
    margin: float | None = None,
    gate: float | None = None,
    barred: Mapping[str, Collection[int]] | None = None,
) -> list[EdgeState]:
    """Return the state of each edge; arguments as of `significance.verdicts`. `at_most`: seeds of a version."""
    found = significance.verdicts(metric, values, parents, margin=margin, gate=gate, barred=barred)
    edges = significance.family(metric, values, parents)
    spread = looks.tree_spread(edge.pairs for edge in edges.values())
    bound = math.log1p(margin) if margin and scale(metric) == "log" else None
    made = []
    for key, edge in edges.items():
        verdict, pairs = found[key], len(edge.pairs)
        look, why = next((look for look in LOOKS if look > pairs), None), ""
        if verdict.word in WORDS or verdict.word == BARRED:
            why = verdict.label
        elif verdict.word == NOT_YET:
            why = verdict.why
        elif look is None or look > at_most:
            why = f"{pairs} of at most {at_most} seeds"
        elif pairs >= HOPELESS_FROM:
            last = looks.look_at(edge.pairs[: max(each for each in LOOKS if each <= pairs)], spread, bound)
            end = max(each for each in LOOKS if each <= at_most)
            chances = chance_of_difference(last, len(edges), end), chance_of_equivalence(last, len(edges), end, bound)
            if max(chances) < HOPELESS:
                why = f"neither word is likely with {end} seeds: {chances[0]:.0%} and {chances[1]:.0%}"
        made.append(EdgeState(edge.child, edge.parent, verdict, pairs, None if why else look, why))
    return made


def chance_of_difference(last: Look, family: int, end: int) -> float:
    """Return the probability of better or worse at the look `end`, if mean and spread of `last` are the true ones."""
    if math.isnan(last.error):
        return 0.0
    from scipy.special import nctdtr

    freedom = last.freedom + end - last.seeds
    critical = looks.critical(end, family, freedom)
    noncentrality = abs(last.mean) / _error(last, end)
    return 1.0 if noncentrality > 30 else 1 - float(nctdtr(freedom, noncentrality, critical))


def chance_of_equivalence(last: Look, family: int, end: int, bound: float | None) -> float:
    """Return the probability of equivalence at the look `end`, if mean and spread of `last` are the true ones."""
    if bound is None or math.isnan(last.error):
        return 0.0
    from scipy.special import ndtr, stdtrit

    error, freedom = _error(last, end), last.freedom + end - last.seeds
    critical = -float(stdtrit(freedom, ALPHA * EQUIVALENCE_SHARES[end] / family))
    room = bound - critical * error
    if room <= 0:
        return 0.0
    return float(ndtr((room - last.mean) / error) - ndtr((-room - last.mean) / error))


def _error(last: Look, end: int) -> float:
    return last.error * math.sqrt(last.pairs / end)
