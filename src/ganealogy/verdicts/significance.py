"""Which child beats its parent: means with their intervals over seeds, and verdicts that hold their error rate.

Distances are compared on the logarithm (see `scales`), child against parent by Welch's unpaired test: variances are not
equal as a rule, and two versions' trainings with one seed have nothing in common that would pair them. Holm's step-down
correction over all tested edges of one metric keeps the chance that any equal pair is called different at alpha,
whatever the dependence between edges that share a parent (Holm, Scandinavian Journal of Statistics 6, 1979).

The rate promised is 5 %, for edges that share a parent, no true difference and five seeds of each version. Welch's
approximation is short in the far tail that Holm looks at: held against 5 %, a tree whose children all scatter three
times as much as their parent would err in 6 to 8 %. Held against ALPHA = 3 % it errs in 4 % (8 edges) to 5 % (40), and
in 2 % with equal spreads. Unlike numbers of seeds, which only diverged ones leave, take away from that: five against
ten come to up to 7 %. The tests simulate all of it.

A training is the unit, so only seeds can say how far a number would move if the version were trained again. KID's block
standard error (`kid.py`) tells of one training's samples and enters nothing here; a bootstrap of an FD would be biased
(its estimates lie above the FD itself) and is made nowhere.

scipy.stats and statsmodels take a second to import, and are imported when there is something to test.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.verdicts.metric_scales import Scale, has_direction, higher_is_better, is_distance, scale

BETTER, WORSE = "better", "worse"
NO_DIFFERENCE = "no difference shown"
UNHARMED = "equivalent"
"""Shown to differ by less than the margin, which `Verdict.label` states."""
TOO_FEW, NOT_YET, NOT_MEASURED = "too few seeds", "not yet", "not measured"
WORDS = (BETTER, WORSE, UNHARMED, NO_DIFFERENCE, TOO_FEW, NOT_YET, NOT_MEASURED)

SEEDS_NEEDED = 5
"""On both sides, for a verdict: tests begin to tell there. With two, Holm over eight edges would ask for t > 89."""
LEVEL = 0.95
"""Of every interval."""
ALPHA = 0.03
"""What Holm's p is held against, so that any false verdict in a tree comes in at most 5 % (see above)."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A version's metric over its seeds: the mean with its 95 % t interval, on the scale named.

    On `log` the mean is the geometric one, and the interval that of the mean logarithm, transformed back: it is not
    symmetric. `low` and `high` are None below two seeds; `mean` is NaN without values. `values` keeps the finite ones.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    scale: Scale


@dataclass(frozen=True)
class Verdict:
    """What a child's seeds say against its parent's.

    `effect` is the ratio child/parent of geometric means on the log scale, the difference of means on the linear one;
    `low` and `high` are its own 95 % interval, not widened for the number of edges: where p is not small, it can still
    leave out "no effect". `p` is Holm's, `p_raw` the test's own. `hedges_g` is the difference in pooled standard
    deviations, corrected for small samples; positive where the child's numbers are higher. All None where untested.
    For the word `equivalent`, p and p_raw are those of the two one-sided tests, and `margin` is what they tested.
    """

    word: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_raw: float | None = None
    hedges_g: float | None = None
    why: str = ""
    margin: float | None = None

    @property
    def label(self) -> str:
        """The word as people read it: an equivalence is nothing without its margin."""
        return self.word if self.margin is None else f"{self.word} within {percent(self.margin)}"


class Welch(NamedTuple):
    """Welch's unpaired test of mean(child) − mean(parent), one entry a pair of samples."""

    difference: Values
    low: Values
    high: Values
    p: Values


def estimate(metric: str, values: Sequence[float]) -> Estimate:
    """Mean and 95 % t interval over seeds, on the metric's scale; NaN and infinities count as missing.

    Distances of which one is 0 or below have no logarithm: they are averaged on the linear scale, and `scale` says so.
    """
    kept = _finite(values)
    on: Scale = "linear" if _without_logarithm(metric, kept) else scale(metric)
    if not kept:
        return Estimate((), math.nan, None, None, on)
    numbers = np.log(kept) if on == "log" else np.asarray(kept)
    back = math.exp if on == "log" else float
    mean = min(max(back(numbers.mean()), min(kept)), max(kept))  # rounding must not carry it past an anchor
    if len(kept) < 2:
        return Estimate(kept, mean, None, None, on)
    from scipy.special import stdtrit  # a tenth of the time that scipy.stats takes to import

    half = float(stdtrit(len(kept) - 1, (1 + LEVEL) / 2) * numbers.std(ddof=1) / math.sqrt(len(kept)))
    centre = float(numbers.mean())
    return Estimate(kept, mean, _finite_or_none(back, centre - half), _finite_or_none(back, centre + half), on)


def verdicts(
    metric: str,
    values: Mapping[str, Sequence[float]],
    parents: Mapping[str, str | None],
    mean_image: float | None,
    alpha: float = ALPHA,
    *,
    planned: int | None = None,
    margin: float | None = None,
) -> dict[str, Verdict]:
    """A verdict for each child of `parents`, in their order; roots get none.

    `values` holds each version's metric, one number a seed; `mean_image` the metric of the mean image repeated (None:
    not measured, and `not yet` is never said). `planned` is the number of seeds that each version was to have: a
    diverged seed is a missing value, and `why` counts those. `margin`, a share of the parent's value, asks for
    equivalence too (distances only).

    An edge is compared with its own parent and with no ancestor further up: two ideas at once would answer another
    question. One Holm family is all the edges of this metric that can be tested. Those with too few seeds, or on the
    wrong side of the mean image, are no part of it.

    Equivalence is a second family, with alpha of its own, of the same edges: each is tested by two one-sided Welch
    tests, and Holm counts them all, also those whose difference is shown. Counting only the others would be a selection
    by the same data: edges that truly differ by the margin then come out equivalent far more often than alpha (a
    simulation in the tests shows it). The word replaces `no difference shown` and never a `better` or `worse`.
    """
    kept = {name: _finite(found) for name, found in values.items()}
    missing = {name: max(len(found), planned or 0) - len(kept[name]) for name, found in values.items()}
    anchor = mean_image if mean_image is not None and math.isfinite(mean_image) else None
    edges = {child: parent for child, parent in parents.items() if parent is not None}
    found: dict[str, Verdict] = {}
    tested: dict[str, _Compared] = {}
    for child, parent in edges.items():
        refused = _refusal(metric, child, parent, kept, anchor)
        if refused is None:
            tested[child] = _Compared.of(metric, kept[child], kept[parent])
        else:
            found[child] = replace(refused, why=refused.why + _lost(child, parent, missing, planned))
    adjusted = holm([compared.p for compared in tested.values()])
    bound = math.log1p(margin) if margin and scale(metric) == "log" else None
    equivalences = [compared.equivalence(bound) if bound else 1.0 for compared in tested.values()]
    equal = holm(equivalences) if bound else equivalences
    for (child, compared), p, p_equal_raw, p_equal in zip(tested.items(), adjusted, equivalences, equal, strict=True):
        parent = edges[child]
        shown = compared.verdict(metric, parent, p, alpha, len(tested))
        if shown.word == NO_DIFFERENCE and p_equal <= alpha:
            shown = compared.equivalent(parent, margin or 0.0, p_equal_raw, p_equal, len(tested))
        unanchored = "; the mean image was not measured" if anchor is None and is_distance(metric) else ""
        found[child] = replace(shown, why=shown.why + unanchored + _lost(child, parent, missing, planned))
    return {child: found[child] for child in edges}


def equivalent(
    metric: str, child: Sequence[float], parent: Sequence[float], margin: float, alpha: float = ALPHA
) -> Verdict:
    """Whether the child is unharmed: shown to be within `margin` of the parent, by two one-sided Welch tests.

    The margin is a ratio of geometric means, the same both ways: 0.1 stands for 1/1.1 to 1.1. One edge alone, without
    correction; `verdicts(margin=...)` corrects for many. (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15,
    1987; Welch's form as in statsmodels' `ttost_ind(usevar="unequal")`.)

    Raises: GanealogyError for a metric on the linear scale, where ratios mean nothing, and for a margin of 0 or less.
    """
    if scale(metric) != "log":
        raise GanealogyError(f"{metric}: an equivalence margin is a ratio, and only Fréchet distances are compared so")
    if not margin > 0 or not math.isfinite(margin):
        raise GanealogyError(f"an equivalence margin is a share above 0, like 0.1 for 10 %; got {margin}")
    kept = {"the child": _finite(child), "the parent": _finite(parent)}
    refused = _refusal(metric, "the child", "the parent", kept, None)
    if refused is not None:
        return refused
    compared = _Compared.of(metric, *kept.values())
    p = compared.equivalence(math.log1p(margin))
    if p <= alpha:
        return compared.equivalent("the parent", margin, p, p, 1)
    why = f"not shown to be within {percent(margin)} of the parent ({_p(p)} by two one-sided tests)"
    return replace(compared.verdict(metric, "the parent", 1.0, alpha, 1), p=p, p_raw=p, why=why)


def welch(child: Values, parent: Values) -> Welch:
    """(..., n) against (..., m), on the scale of comparison. NaN where neither side of a pair varies."""
    from scipy.stats import ttest_ind

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, of samples without spread: their p is NaN, or exact
        test = ttest_ind(child, parent, axis=-1, equal_var=False)
        interval = test.confidence_interval(LEVEL)
    return Welch(child.mean(axis=-1) - parent.mean(axis=-1), interval.low, interval.high, test.pvalue)


def two_one_sided(child: Values, parent: Values, bound: float) -> Values:
    """p of the two one-sided Welch tests that |mean(child) − mean(parent)| < bound, for (..., n) against (..., m)."""
    from scipy.stats import ttest_ind

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        below = ttest_ind(child - bound, parent, axis=-1, equal_var=False, alternative="less").pvalue
        above = ttest_ind(child + bound, parent, axis=-1, equal_var=False, alternative="greater").pvalue
    larger: Values = np.maximum(below, above)
    return larger


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values of one family. A test that could not be made (NaN) counts as one with p = 1."""
    if len(p) < 2:
        return [1.0 if math.isnan(value) else float(value) for value in p]
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(np.nan_to_num(np.asarray(p, float), nan=1.0), method="holm")[1]]


def hedges_g(child: Values, parent: Values) -> float:
    """Difference of means in pooled standard deviations, without the small sample's bias; NaN without spread.

    Hedges, Journal of Educational Statistics 6, 1981, with the usual approximation of the correction.
    """
    freedom = len(child) + len(parent) - 2
    squares = (len(child) - 1) * child.var(ddof=1) + (len(parent) - 1) * parent.var(ddof=1)
    spread = math.sqrt(squares / freedom)
    return (1 - 3 / (4 * freedom - 1)) * float(child.mean() - parent.mean()) / spread if spread else math.nan


@dataclass(frozen=True)
class _Compared:
    """An edge that can be tested: both sides on the scale of comparison, and Welch's test of them."""

    child: Values
    parent: Values
    log: bool
    difference: float
    low: float
    high: float
    p: float
    """NaN where neither side varies and they differ."""

    @classmethod
    def of(cls, metric: str, child: Sequence[float], parent: Sequence[float]) -> _Compared:
        log = scale(metric) == "log"
        a, b = (np.log(side) if log else np.asarray(side, np.float64) for side in (child, parent))
        if _constant(a, log) and _constant(b, log):
            difference = float(a.mean() - b.mean())
            same = abs(difference) <= _tolerance(a, log)
            return cls(a, b, log, 0.0 if same else difference, math.nan, math.nan, 1.0 if same else math.nan)
        test = welch(a, b)
        return cls(a, b, log, float(test.difference), float(test.low), float(test.high), float(test.p))

    def verdict(self, metric: str, parent: str, p: float, alpha: float, family: int) -> Verdict:
        if math.isnan(self.low):  # no spread on either side
            why = "every seed of both gave the same number"
            if math.isnan(self.p):
                why = f"neither varies over its seeds, so there is no spread to test their difference from {parent} by"
            same = None if math.isnan(self.p) else 1.0
            return Verdict(NO_DIFFERENCE, self._back(self.difference), p=same, p_raw=same, why=why)
        direction = BETTER if (self.difference > 0) == higher_is_better(metric) else WORSE
        word = direction if p <= alpha else NO_DIFFERENCE
        return Verdict(word, *self._effect(), p, self.p, self._g(), self._why(parent, p, family))

    def equivalence(self, bound: float) -> float:
        """p of two one-sided tests; 1 where neither side varies, which shows nothing."""
        return 1.0 if math.isnan(self.low) else float(two_one_sided(self.child, self.parent, bound))

    def equivalent(self, parent: str, margin: float, p_raw: float, p: float, family: int) -> Verdict:
        why = f"within {percent(margin)} of {parent} by two one-sided tests: {self._why(parent, p, family)}"
        return Verdict(UNHARMED, *self._effect(), p, p_raw, self._g(), why, margin)

    def _back(self, difference: float) -> float:
        return math.exp(difference) if self.log else difference

    def _effect(self) -> tuple[float, float, float]:
        return self._back(self.difference), self._back(self.low), self._back(self.high)

    def _g(self) -> float:
        return hedges_g(self.child, self.parent)

    def _why(self, parent: str, p: float, family: int) -> str:
        effect, low, high = self._effect()
        if self.log:
            told = f"{_ratio(effect)} times {parent} (95 % interval {_ratio(low)} to {_ratio(high)})"
        else:
            told = f"{effect:+.3g} against {parent} (95 % interval {low:+.3g} to {high:+.3g})"
        corrected = f" after Holm over {family} edges" if family > 1 else ""
        return f"{told}, {_p(p)}{corrected}, {len(self.child)} against {len(self.parent)} seeds"


def _refusal(
    metric: str, child: str, parent: str, kept: Mapping[str, tuple[float, ...]], anchor: float | None
) -> Verdict | None:
    """Why this edge cannot be tested, as a verdict; None when it can."""
    if not has_direction(metric):
        return Verdict(NOT_MEASURED, why=f"neither more nor less of {metric} is better")
    if parent not in kept:
        return Verdict(NOT_MEASURED, why=f"its parent {parent} is not among the versions compared")
    empty = [name for name in (child, parent) if not kept.get(name)]
    if empty:
        return Verdict(NOT_MEASURED, why=f"{' and '.join(empty)} {'have' if len(empty) > 1 else 'has'} no {metric}")
    if bad := [name for name in (child, parent) if _without_logarithm(metric, kept[name])]:
        least = min(kept[bad[0]])
        return Verdict(NOT_MEASURED, why=f"{bad[0]} has {metric} = {least:g}, which has no logarithm to compare")
    effect = _effect_of(metric, kept[child], kept[parent])
    if anchor is not None and is_distance(metric):
        behind = [name for name in (child, parent) if estimate(metric, kept[name]).mean >= anchor]
        if behind:
            have = "have" if len(behind) > 1 else "has"
            why = f"{' and '.join(behind)} {have} not passed the mean image ({anchor:.4g})"
            return Verdict(NOT_YET, effect, why=why)
    counts = {name: len(kept[name]) for name in (child, parent)}
    if min(counts.values()) < SEEDS_NEEDED:
        told = " and ".join(f"{count} of {name}" for name, count in counts.items())
        return Verdict(TOO_FEW, effect, why=f"{told}: a verdict takes {SEEDS_NEEDED} seeds of each")
    return None


def _effect_of(metric: str, child: Sequence[float], parent: Sequence[float]) -> float:
    means = estimate(metric, child).mean, estimate(metric, parent).mean
    return means[0] / means[1] if scale(metric) == "log" else means[0] - means[1]


def _lost(child: str, parent: str, missing: Mapping[str, int], planned: int | None) -> str:
    """What the reason adds about seeds that were planned and left no number: they may be the ones that diverged."""
    of = f" of {planned}" if planned else ""
    told = [f"{missing[name]}{of} seeds of {name}" for name in (child, parent) if missing.get(name, 0) > 0]
    return f"; without a number: {', '.join(told)}" if told else ""


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values if value is not None and math.isfinite(value))


def _without_logarithm(metric: str, values: Sequence[float]) -> bool:
    return scale(metric) == "log" and any(value <= 0 for value in values)


def _finite_or_none(back: Callable[[float], float], value: float) -> float | None:
    """An end of an interval; None where it lies beyond the largest number, as two far-apart seeds can put it."""
    try:
        end = back(value)
    except OverflowError:
        return None
    return end if math.isfinite(end) else None


def _tolerance(values: Values, log: bool) -> float:
    """Below this, numbers differ by rounding only; a difference of logarithms is relative already."""
    return 1e-12 * (1.0 if log else float(np.abs(values).max()))


def _constant(values: Values, log: bool) -> bool:
    return float(np.ptp(values)) <= _tolerance(values, log)


def _ratio(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= value < 100 else f"{value:.3g}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def percent(share: float) -> str:
    """0.1 → "10 %"."""
    return f"{100 * share:.3g} %"
