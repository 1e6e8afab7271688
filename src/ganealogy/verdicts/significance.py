"""Verdicts on the edges of a tree: is a child's distance lower than its parent's, over seeds?

Child and parent are compared in pairs of equal seeds, on the logarithm of a distance (`metric_kinds`): a seed is a
block, because versions of one architecture draw similar pictures from the same seed.

- The variance of the differences is lifted towards the tree's if it came out small by luck, and believed if it came
  out large: a moderated t (Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004), upwards only.
- An edge's p is the least p / share over the looks reached (`looks`), so a verdict once given stays; Holm's correction
  (Scandinavian Journal of Statistics 6, 1979) over all edges of the tree. A Bonferroni bound over edges and looks needs
  no assumption on how they depend.
- Equivalence is a family of its own: two one-sided tests (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15,
  1987), with the shares in reverse, because it needs many seeds.
- A diverged seed is lost. Losses are tested too, and a side that seems better only because its bad seeds were lost gets
  no word.

docs/metrics.md has the error rates and the power, and tests/verdicts/test_promise.py simulates them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ganealogy.verdicts import looks
from ganealogy.verdicts.looks import ALPHA, EQUIVALENCE_SHARES, EXCESS_LOSS, LOOKS, SEEDS_NEEDED, Look, Pair, TreeSpread
from ganealogy.verdicts.metric_kinds import scale

BETTER, WORSE = "better", "worse"
EQUIVALENT = "equivalent"
"""The difference is shown to be less than the margin, which `Verdict.label` states."""
DIVERGES_MORE, DIVERGES_LESS = "diverges more often", "diverges less often"
NO_DIFFERENCE = "no difference shown"
BETTER_SURVIVORS, WORSE_THAN_SURVIVORS = "better where it survived", "worse where its parent survived"
"""The side that seems better lost more seeds, so only survivors are compared."""
TOO_FEW, NOT_YET, BARRED, NOT_MEASURED = "too few seeds", "not yet", "no word", "not measured"
NOT_COMPARED = "not compared"
"""One of them started from another training; `Verdict.label` says so."""
WORDS = (
    *(BETTER, WORSE, EQUIVALENT, DIVERGES_MORE, DIVERGES_LESS, NO_DIFFERENCE, BETTER_SURVIVORS, WORSE_THAN_SURVIVORS),
    *(TOO_FEW, NOT_YET, BARRED, NOT_MEASURED, NOT_COMPARED),
)


@dataclass(frozen=True)
class Verdict:
    """Result of comparing a child with its parent, seed by seed.

    `effect` is the geometric mean of child/parent on the log scale, the mean difference on the linear one, at the last
    look, or over the seeds so far before the first. `low` and `high` are its interval: all intervals of a tree hold
    together, at every look, in 95 % of trees. `p` is that of a difference, `p_equal` that of equivalence, both
    corrected for looks and edges; a word needs at most ALPHA. `seeds`: those of the last look; None before the first.
    """

    word: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_equal: float | None = None
    seeds: int | None = None
    why: str = ""
    detail: str = ""
    """The rest of the label."""

    @property
    def label(self) -> str:
        """The word with what belongs to it: the margin of an equivalence, the number of survivors."""
        return self.word + self.detail


class SecondEdge(str):
    """Key of a merge's comparison with the second one of its parents, such as `v13 against v11`.

    The comparison with the first one has the merge's name for its key.
    """

    __slots__ = ("child",)
    child: str

    def __new__(cls, child: str, parent: str) -> SecondEdge:
        self = super().__new__(cls, f"{child} against {parent}")
        self.child = child
        return self


def child_of(key: str) -> str:
    """Return the version that an edge's key is about."""
    return key.child if isinstance(key, SecondEdge) else key


def verdicts(
    metric: str,
    values: Mapping[str, Mapping[int, float]],
    parents: Mapping[str, str | None],
    *,
    margin: float | None = None,
    gate: float | None = None,
    barred: Mapping[str, Collection[int]] | None = None,
) -> dict[str, Verdict]:
    """Return a verdict for each edge of `parents`, in their order; roots get none. The lower value is the better one.

    `values`: version → seed → distance; NaN: the seed was lost; absent: it has no result yet. `parents`: version → its
    parent, or None; of a merge, `SecondEdge` → its other parent, too. The family is every edge whose parent is among
    `values`, those that cannot be tested with p = 1.

    `margin`: a fraction of the parent's value within which versions count as equivalent (log scale only). `gate`: an
    edge whose means are both not below it is not compared at that look. `barred`: version → seeds that copy training
    pictures; an edge with one among the seeds of its last look gets no word.
    """
    edges = family(metric, values, parents)
    spread = looks.tree_spread(edge.pairs for edge in edges.values())
    rule = Rule(spread, len(edges), margin if scale(metric) == "log" else None, gate, barred or {})
    tests = [Comparison(edge, rule) for edge in edges.values()]
    p, p_equal = looks.holm([test.p for test in tests]), looks.holm([test.p_equal for test in tests])
    results = {key: test.verdict(*both) for key, test, *both in zip(edges, tests, p, p_equal, strict=True)}
    return {
        key: results[key]
        if key in results
        else Verdict(NOT_MEASURED, why=f"its parent {parent} is not among the versions compared")
        for key, parent in parents.items()
        if parent is not None
    }


@dataclass(frozen=True)
class Edge:
    """A child and its parent: seed → value."""

    metric: str
    child: str
    parent: str
    values: Mapping[str, Mapping[int, float]]
    """Of these two."""

    @property
    def log(self) -> bool:
        return scale(self.metric) == "log"

    @cached_property
    def numbers(self) -> dict[str, dict[int, float]]:
        """Version → seed → number on the scale of comparison; NaN where the seed was lost."""
        return {name: {seed: self._number(value) for seed, value in row.items()} for name, row in self.values.items()}

    @cached_property
    def pairs(self) -> list[Pair]:
        return looks.pairs(self.numbers[self.child], self.numbers[self.parent])

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of the pairs."""
        return sorted(self.values[self.child].keys() & self.values[self.parent].keys())

    def survivors(self, name: str, seeds: int) -> int:
        """Return how many of the first `seeds` pairs this side did not lose."""
        return sum(math.isfinite(self.values[name][seed]) for seed in self.seeds[:seeds])

    def _number(self, value: float) -> float:
        if not self.log:
            return value
        return math.log(value) if value > 0 and math.isfinite(value) else math.nan


def family(
    metric: str, values: Mapping[str, Mapping[int, float]], parents: Mapping[str, str | None]
) -> dict[str, Edge]:
    """Return key of `parents` → edge, for children whose parent is among `values`."""
    return {
        key: Edge(metric, child_of(key), parent, {name: values.get(name, {}) for name in (child_of(key), parent)})
        for key, parent in parents.items()
        if parent is not None and parent in values
    }


def seed_correlation(edges: Mapping[str, Edge]) -> float | None:
    """Return the correlation of children with parents over seeds, pooled within edges; None without any spread.

    That is Σ(c − c̄)(p − p̄) / √(Σ(c − c̄)² · Σ(p − p̄)²), on the scale of comparison, over the complete pairs.
    """
    both: list[looks.Values] = [np.empty((0, 2))]
    for edge in edges.values():
        rows = np.array([[edge.numbers[edge.child][seed], edge.numbers[edge.parent][seed]] for seed in edge.seeds])
        rows = rows.reshape(-1, 2)[np.isfinite(rows.reshape(-1, 2)).all(axis=1)]
        if len(rows) > 1:
            both.append(rows - rows.mean(axis=0))
    child, parent = np.concatenate(both).T
    scales = math.sqrt(float((child**2).sum() * (parent**2).sum()))
    return float((child * parent).sum()) / scales if scales > looks.NO_SPREAD**2 else None


def percent(fraction: float) -> str:
    """Format a fraction: 0.1 → "10 %"."""
    return f"{100 * fraction:.3g} %"


@dataclass(frozen=True)
class Rule:
    """What all tests of a family share; see `verdicts`."""

    spread: TreeSpread
    family: int
    margin: float | None
    gate: float | None
    barred: Mapping[str, Collection[int]]


class Comparison:
    """An edge over the looks that its seeds reach."""

    def __init__(self, edge: Edge, rule: Rule) -> None:
        self.edge, self.rule = edge, rule
        bound = math.log1p(rule.margin) if rule.margin else None
        self.looks = [looks.look_at(edge.pairs[:n], rule.spread, bound) for n in LOOKS if n <= len(edge.pairs)]
        self.invalid = [
            name for name, row in edge.values.items() if edge.log and any(value <= 0 for value in row.values())
        ]
        shown = set(edge.seeds[: self.looks[-1].seeds] if self.looks else [])
        self.copies = [name for name in edge.values if shown & set(rule.barred.get(name, ()))]
        closed = self.invalid or self.copies
        self.open = [look for look in self.looks if not closed and not self._behind_gate(look.seeds)]
        """Looks that may give a word."""

    @property
    def p(self) -> float:
        return min([1.0, *(look.p / LOOKS[look.seeds] for look in self.open)])

    @property
    def p_equal(self) -> float:
        return min([1.0, *(look.p_equal / EQUIVALENCE_SHARES[look.seeds] for look in self.open)])

    def verdict(self, p: float, p_equal: float) -> Verdict:
        """Return the verdict for Holm's p of a difference and of equivalence."""
        word, detail, reason = self._word(p, p_equal)
        tested = [look for look in self.looks if not math.isnan(look.error)]
        last = tested[-1] if tested else looks.look_at(self.edge.pairs, self.rule.spread, None)
        made, facts, chances = Verdict(word, detail=detail), [], ""
        if self.looks:
            made = replace(made, seeds=self.looks[-1].seeds)
        if self.open:
            made = replace(made, p=p, p_equal=p_equal)
            chance = f"{_p(p_equal)} of two one-sided tests" if word == EQUIVALENT else _p(p)
            counted = f"{_plural(len(self.open), 'look')} and Holm over {_plural(self.rule.family, 'edge')}"
            chances = f"{chance} after {counted}"
        if not self.invalid and not math.isnan(last.mean):
            back = math.exp if self.edge.log else float
            low, high = self._interval(word)
            made = replace(made, effect=back(last.mean))
            if not math.isinf(low):
                made = replace(made, low=back(low), high=back(high))
            facts = [self._size(made), chances, self._counts(last)]
        elif word in (DIVERGES_MORE, DIVERGES_LESS):
            facts = [chances]
        return replace(made, why="; ".join(filter(None, [reason, ", ".join(filter(None, facts)), self._losses()])))

    def _word(self, p: float, p_equal: float) -> tuple[str, str, str]:
        """Return word, rest of the label, and reason."""
        child, parent = self.edge.child, self.edge.parent
        empty = [name for name, row in self.edge.values.items() if not any(map(math.isfinite, row.values()))]
        if self.invalid:
            least = min(self.edge.values[self.invalid[0]].values())
            why = f"{self.invalid[0]} has {self.edge.metric} = {least:g}, which has no logarithm to compare"
            return NOT_MEASURED, "", why
        if self.copies:
            who = f"{' and '.join(self.copies)} {'copy' if len(self.copies) > 1 else 'copies'} training pictures"
            return BARRED, f": {who}", ""
        if p <= ALPHA:
            return self._difference(), "", ""
        if p_equal <= ALPHA:
            return EQUIVALENT, f" within {percent(self.rule.margin or 0)}", ""
        if empty:
            have = "have" if len(empty) > 1 else "has"
            return NOT_MEASURED, "", f"{' and '.join(empty)} {have} no {self.edge.metric}"
        if self._behind_gate(self.looks[-1].seeds if self.looks else None):
            return NOT_YET, "", f"neither {child} nor {parent} is better than the gate ({self.rule.gate:.4g})"
        if all(look.pairs < SEEDS_NEEDED for look in self.looks):
            count = sum(not math.isnan(pair.difference) for pair in self.edge.pairs)
            return TOO_FEW, "", f"{_plural(count, 'seed')} of both {child} and {parent}: a verdict needs {SEEDS_NEEDED}"
        return self._undecided()

    def _difference(self) -> str:
        look = min(self.open, key=lambda look: look.p / LOOKS[look.seeds])
        if look.by_loss:
            return DIVERGES_MORE if look.excess > 0 else DIVERGES_LESS
        return BETTER if look.mean <= 0 else WORSE

    def _undecided(self) -> tuple[str, str, str]:
        last, (low, high) = self.looks[-1], self._interval(NO_DIFFERENCE)
        if math.isnan(last.error):
            return NO_DIFFERENCE, "", "all pairs of seeds differ by the same number: without a spread there is no test"
        for name, excess, seems_better, word in (
            (self.edge.child, last.excess, high < 0, BETTER_SURVIVORS),
            (self.edge.parent, -last.excess, low > 0, WORSE_THAN_SURVIVORS),
        ):
            if seems_better and excess > EXCESS_LOSS * last.seeds:
                return word, f" ({self.edge.survivors(name, last.seeds)} of {last.seeds})", ""
        return NO_DIFFERENCE, "", ""

    def _behind_gate(self, seeds: int | None) -> bool:
        """Return whether no side's mean over the first `seeds` pairs is below the gate; None: over its own seeds."""
        if self.rule.gate is None:
            return False
        gate = math.log(self.rule.gate) if self.edge.log else self.rule.gate
        for row in self.edge.numbers.values():
            known = [
                row[seed] for seed in (row if seeds is None else self.edge.seeds[:seeds]) if math.isfinite(row[seed])
            ]
            if known and np.mean(known) < gate:
                return False
        return True

    def _interval(self, word: str) -> tuple[float, float]:
        """Intersect the intervals of all looks. Holm's later steps decide a little before this interval does."""
        intervals = [look.interval(self.rule.family) for look in self.looks] or [(-math.inf, math.inf)]
        low, high = max(low for low, _ in intervals), min(high for _, high in intervals)
        if low > high:  # in less than 5 % of trees
            low, high = intervals[-1]
        if word == BETTER:
            return min(low, 0.0), min(high, 0.0)
        return (max(low, 0.0), max(high, 0.0)) if word == WORSE else (low, high)

    def _size(self, verdict: Verdict) -> str:
        form = _ratio if self.edge.log else "{:+.3g}".format
        text = f"{form(verdict.effect)} {'times' if self.edge.log else 'against'} {self.edge.parent}"
        return text if verdict.low is None else f"{text} ({form(verdict.low)} to {form(verdict.high)})"

    def _counts(self, last: Look) -> str:
        planned = len(self.edge.pairs)
        return f"{_plural(last.pairs, 'pair')} of seeds" + (
            f", the first {last.seeds} of {planned}" if last.seeds < planned else ""
        )

    def _losses(self) -> str:
        """Return the lost seeds of each side among those compared; empty without any."""
        seeds = self.looks[-1].seeds if self.looks else len(self.edge.pairs)
        lost = {name: seeds - self.edge.survivors(name, seeds) for name in self.edge.values}
        parts = [f"{count} of {seeds} seeds of {name}" for name, count in lost.items() if count]
        return f"lost: {', '.join(parts)}" if parts else ""


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _ratio(value: float | None) -> str:
    value = value or 0.0
    return f"{value:.3f}" if 0.01 <= value < 100 else f"{value:.3g}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
