"""Compare child and parent over seeds: means with intervals, and verdicts with a controlled error rate.

Distances are compared on the logarithm (see `metric_kinds`), child against parent by Welch's unpaired test: variances
are usually unequal, and two versions trained with the same seed share nothing that would pair them. Holm's step-down
correction over all tested edges of a metric keeps the probability of any false difference at alpha, also for edges that
share a parent (Holm, Scandinavian Journal of Statistics 6, 1979).

The error rate is at most 5 %, for edges that share a parent, no true difference and five seeds per version. Welch's
approximation is inexact in the far tail that Holm uses: at alpha = 5 %, a tree whose children all vary three times as
much as their parent has 6 to 8 % errors. At ALPHA = 3 % it has 4 % (8 edges) to 5 % (40), and 2 % with equal spreads.
Unequal numbers of seeds, from diverged runs or from tree.more_seeds, raise it: five against ten give up to 7 %. The
tests simulate all of this.

The unit is a training, so only seeds show how much a number would change if the version were trained again. KID's block
standard error (`kid.py`) describes the samples of one training and is not used here. No FD is bootstrapped: its
bootstrap estimates lie above the FD itself.

scipy.stats takes half a second to import, so it is imported only when there is something to test.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganealogy.verdicts.metric_kinds import Scale, has_direction, higher_is_better, is_distance, scale

BETTER, WORSE = "better", "worse"
NO_DIFFERENCE = "no difference shown"
EQUIVALENT = "equivalent"
"""The difference is shown to be less than the margin, which `Verdict.label` states."""
TOO_FEW, NOT_YET, NOT_MEASURED = "too few seeds", "not yet", "not measured"
WORDS = (BETTER, WORSE, EQUIVALENT, NO_DIFFERENCE, TOO_FEW, NOT_YET, NOT_MEASURED)

SEEDS_NEEDED = 5
"""Per version, for a verdict. With two seeds, Holm over eight edges would need t > 89."""
LEVEL = 0.95
"""Of every interval."""
ALPHA = 0.03
"""Threshold of Holm's p. With it at most 5 % of trees without differences get a false verdict (see above)."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Mean of a version's metric over its seeds, with the 95 % t interval, on `scale`.

    On `log` the mean is the geometric one, and the interval is that of the mean logarithm, transformed back: it is not
    symmetric. `low` and `high` are None below two seeds; `mean` is NaN without values. `values` are the finite ones.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    scale: Scale


@dataclass(frozen=True)
class Verdict:
    """Result of comparing a child's seeds with its parent's.

    `effect` is the ratio child/parent of geometric means on the log scale, the difference of means on the linear one.
    `low` and `high` are its 95 % interval, not widened for the number of edges: if p is not small, it can still exclude
    "no effect". `p` is Holm's, `p_raw` the test's own. `hedges_g` is the difference in pooled standard deviations,
    corrected for small samples; positive if the child's values are higher. All are None if nothing was tested.
    For `equivalent`, p and p_raw are those of the two one-sided tests, and `margin` is the margin tested.
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
        """The word, with the margin of an equivalence."""
        return self.word if self.margin is None else f"{self.word} within {percent(self.margin)}"


class Welch(NamedTuple):
    """Welch's unpaired test of mean(child) − mean(parent), one entry per pair of samples."""

    difference: Values
    low: Values
    high: Values
    p: Values


def estimate(metric: str, values: Sequence[float]) -> Estimate:
    """Return mean and 95 % t interval over seeds, on the metric's scale. NaN and infinities count as missing.

    Distances of which one is 0 or below have no logarithm: they are averaged on the linear scale.
    """
    finite = _finite(values)
    used_scale: Scale = "linear" if _without_logarithm(metric, finite) else scale(metric)
    if not finite:
        return Estimate((), math.nan, None, None, used_scale)
    numbers = np.log(finite) if used_scale == "log" else np.asarray(finite)
    back = math.exp if used_scale == "log" else float
    mean = min(max(back(numbers.mean()), min(finite)), max(finite))  # rounding must not carry it past an anchor
    if len(finite) < 2:
        return Estimate(finite, mean, None, None, used_scale)
    from scipy.special import stdtrit  # imports in a tenth of scipy.stats's time

    half = float(stdtrit(len(finite) - 1, (1 + LEVEL) / 2) * numbers.std(ddof=1) / math.sqrt(len(finite)))
    centre = float(numbers.mean())
    return Estimate(
        finite, mean, _finite_or_none(back, centre - half), _finite_or_none(back, centre + half), used_scale
    )


def verdicts(
    metric: str,
    values: Mapping[str, Sequence[float]],
    parents: Mapping[str, str | None],
    mean_image: float | None,
    alpha: float = ALPHA,
    *,
    planned: Mapping[str, int] | None = None,
    margin: float | None = None,
) -> dict[str, Verdict]:
    """Return a verdict for each child of `parents`, in their order; roots get none.

    `values`: version → its metric, one number per seed. `mean_image`: the metric of the mean image, repeated; None if
    not measured, then no verdict is `not yet`. `planned`: version → number of its seeds; a diverged seed is a
    missing value, and `why` counts those. `margin`: a fraction of the parent's value within which versions count as
    equivalent (distances only).

    An edge compares a child with its own parent, not with an earlier ancestor: that would test two ideas at once. The
    Holm family is all edges of this metric that can be tested. Edges with too few seeds, or with a version that does
    not beat the mean image, are not part of it.

    Equivalence is a second family, with its own alpha, of the same edges: two one-sided Welch tests per edge. Holm
    counts all edges, also those with a shown difference. Counting only the others would select by the same data: edges
    that truly differ by the margin then come out equivalent far more often than alpha (a simulation in the tests shows
    it). `equivalent` replaces `no difference shown`, never `better` or `worse`.
    """
    finite = {name: _finite(numbers) for name, numbers in values.items()}
    counts = {name: max(len(numbers), (planned or {}).get(name, 0)) for name, numbers in values.items()}
    anchor = mean_image if mean_image is not None and math.isfinite(mean_image) else None
    edges = {child: parent for child, parent in parents.items() if parent is not None}
    results: dict[str, Verdict] = {}
    tested: dict[str, _Comparison] = {}
    for child, parent in edges.items():
        untested = _untestable(metric, child, parent, finite, anchor)
        if untested is None:
            tested[child] = _Comparison.of(metric, finite[child], finite[parent])
        else:
            results[child] = replace(untested, why=untested.why + _missing_seeds_note((child, parent), counts, finite))
    adjusted = holm([comparison.p for comparison in tested.values()])
    bound = math.log1p(margin) if margin and scale(metric) == "log" else None
    p_equal_raw = [comparison.equivalence(bound) if bound else 1.0 for comparison in tested.values()]
    p_equal = holm(p_equal_raw) if bound else p_equal_raw
    for (child, comparison), p, equal_raw, equal in zip(tested.items(), adjusted, p_equal_raw, p_equal, strict=True):
        parent = edges[child]
        verdict = comparison.verdict(metric, parent, p, alpha, len(tested))
        if verdict.word == NO_DIFFERENCE and equal <= alpha:
            verdict = comparison.equivalent(parent, margin or 0.0, equal_raw, equal, len(tested))
        unanchored = "; the mean image was not measured" if anchor is None and is_distance(metric) else ""
        note = _missing_seeds_note((child, parent), counts, finite)
        results[child] = replace(verdict, why=verdict.why + unanchored + note)
    return {child: results[child] for child in edges}


def welch(child: Values, parent: Values) -> Welch:
    """Test samples (..., n) against (..., m), on the scale of comparison. NaN where neither sample varies."""
    from scipy.stats import ttest_ind

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, for samples without spread: their p is NaN, or exact
        test = ttest_ind(child, parent, axis=-1, equal_var=False)
        interval = test.confidence_interval(LEVEL)
    return Welch(child.mean(axis=-1) - parent.mean(axis=-1), interval.low, interval.high, test.pvalue)


def two_one_sided(child: Values, parent: Values, bound: float) -> Values:
    """Return p of the two one-sided Welch tests for |mean(child) − mean(parent)| < bound, (..., n) against (..., m).

    Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987; as statsmodels' `ttost_ind(usevar="unequal")`.
    """
    from scipy.stats import ttest_ind

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        below = ttest_ind(child - bound, parent, axis=-1, equal_var=False, alternative="less").pvalue
        above = ttest_ind(child + bound, parent, axis=-1, equal_var=False, alternative="greater").pvalue
    return np.maximum(below, above)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values of one family. NaN, a test that was not possible, counts as p = 1.

    Holm, Scandinavian Journal of Statistics 6, 1979. statsmodels' `multipletests` collects garbage at each call, which
    took 7 of the 25 s of the demo's report.
    """
    values = np.nan_to_num(np.asarray(p, float), nan=1.0)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return [float(value) for value in adjusted]


def hedges_g(child: Values, parent: Values) -> float:
    """Return the difference of means in pooled standard deviations, corrected for small samples; NaN without spread.

    Hedges, Journal of Educational Statistics 6, 1981, with the usual approximation of the correction.
    """
    freedom = len(child) + len(parent) - 2
    squares = (len(child) - 1) * child.var(ddof=1) + (len(parent) - 1) * parent.var(ddof=1)
    spread = math.sqrt(squares / freedom)
    return (1 - 3 / (4 * freedom - 1)) * float(child.mean() - parent.mean()) / spread if spread else math.nan


def percent(fraction: float) -> str:
    """Format a fraction: 0.1 → "10 %"."""
    return f"{100 * fraction:.3g} %"


@dataclass(frozen=True)
class _Comparison:
    """A testable edge: both sides on the scale of comparison, and Welch's test of them."""

    child: Values
    parent: Values
    log: bool
    difference: float
    low: float
    high: float
    p: float
    """NaN where neither side varies and they differ."""

    @classmethod
    def of(cls, metric: str, child: Sequence[float], parent: Sequence[float]) -> _Comparison:
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
                why = f"neither version varies over its seeds, so the difference from {parent} cannot be tested"
            same = None if math.isnan(self.p) else 1.0
            return Verdict(NO_DIFFERENCE, self._back(self.difference), p=same, p_raw=same, why=why)
        direction = BETTER if (self.difference > 0) == higher_is_better(metric) else WORSE
        word = direction if p <= alpha else NO_DIFFERENCE
        return Verdict(word, *self._effect(), p, self.p, self._g(), self._why(parent, p, family))

    def equivalence(self, bound: float) -> float:
        """Return p of the two one-sided tests; 1 where neither side varies, which shows nothing."""
        return 1.0 if math.isnan(self.low) else float(two_one_sided(self.child, self.parent, bound))

    def equivalent(self, parent: str, margin: float, p_raw: float, p: float, family: int) -> Verdict:
        why = f"within {percent(margin)} of {parent} by two one-sided tests: {self._why(parent, p, family)}"
        return Verdict(EQUIVALENT, *self._effect(), p, p_raw, self._g(), why, margin)

    def _back(self, difference: float) -> float:
        return math.exp(difference) if self.log else difference

    def _effect(self) -> tuple[float, float, float]:
        return self._back(self.difference), self._back(self.low), self._back(self.high)

    def _g(self) -> float:
        return hedges_g(self.child, self.parent)

    def _why(self, parent: str, p: float, family: int) -> str:
        effect, low, high = self._effect()
        if self.log:
            size = f"{_ratio(effect)} times {parent} (95 % interval {_ratio(low)} to {_ratio(high)})"
        else:
            size = f"{effect:+.3g} against {parent} (95 % interval {low:+.3g} to {high:+.3g})"
        corrected = f" after Holm over {family} edges" if family > 1 else ""
        return f"{size}, {_p(p)}{corrected}, {len(self.child)} against {len(self.parent)} seeds"


def _untestable(
    metric: str, child: str, parent: str, values: Mapping[str, tuple[float, ...]], anchor: float | None
) -> Verdict | None:
    """Return the verdict of an edge that cannot be tested, with the reason; None if it can."""
    if not has_direction(metric):
        return Verdict(NOT_MEASURED, why=f"neither higher nor lower values of {metric} are better")
    if parent not in values:
        return Verdict(NOT_MEASURED, why=f"its parent {parent} is not among the versions compared")
    empty = [name for name in (child, parent) if not values.get(name)]
    if empty:
        return Verdict(NOT_MEASURED, why=f"{' and '.join(empty)} {'have' if len(empty) > 1 else 'has'} no {metric}")
    if bad := [name for name in (child, parent) if _without_logarithm(metric, values[name])]:
        least = min(values[bad[0]])
        return Verdict(NOT_MEASURED, why=f"{bad[0]} has {metric} = {least:g}, which has no logarithm to compare")
    means = {name: estimate(metric, values[name]).mean for name in (child, parent)}
    effect = means[child] / means[parent] if scale(metric) == "log" else means[child] - means[parent]
    if anchor is not None and is_distance(metric):
        behind = [name for name, mean in means.items() if mean >= anchor]
        if behind:
            are = "are" if len(behind) > 1 else "is"
            why = f"{' and '.join(behind)} {are} not better than the mean image ({anchor:.4g})"
            return Verdict(NOT_YET, effect, why=why)
    counts = {name: len(values[name]) for name in (child, parent)}
    if min(counts.values()) < SEEDS_NEEDED:
        seeds = " and ".join(f"{count} of {name}" for name, count in counts.items())
        return Verdict(TOO_FEW, effect, why=f"{seeds}: a verdict needs {SEEDS_NEEDED} seeds of each")
    return None


def _missing_seeds_note(edge: Sequence[str], planned: Mapping[str, int], values: Mapping[str, Sequence[float]]) -> str:
    """Count the planned seeds without a value, which may have diverged; empty if there are none."""
    missing = {name: planned.get(name, 0) - len(values.get(name, ())) for name in edge}
    parts = [f"{count} of {planned[name]} seeds of {name}" for name, count in missing.items() if count]
    return f"; without a number: {', '.join(parts)}" if parts else ""


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values if value is not None and math.isfinite(value))


def _without_logarithm(metric: str, values: Sequence[float]) -> bool:
    return scale(metric) == "log" and any(value <= 0 for value in values)


def _finite_or_none(back: Callable[[float], float], value: float) -> float | None:
    """Return an end of an interval; None beyond the largest float, which two far-apart seeds can reach."""
    try:
        end = back(value)
    except OverflowError:
        return None
    return end if math.isfinite(end) else None


def _tolerance(values: Values, log: bool) -> float:
    """Return the difference below which numbers are equal up to rounding; of logarithms it is already relative."""
    return 1e-12 * (1.0 if log else float(np.abs(values).max()))


def _constant(values: Values, log: bool) -> bool:
    return float(np.ptp(values)) <= _tolerance(values, log)


def _ratio(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= value < 100 else f"{value:.3g}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
