"""The statistics of an edge, against printed tables, closed forms and plain transcriptions."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from scipy.special import stdtrit
from statsmodels.stats.multitest import multipletests

from ganealogy.verdicts.looks import (
    ALPHA,
    EQUIVALENCE_SHARES,
    LOOKS,
    Pair,
    TreeSpread,
    complete,
    critical,
    holm,
    look_at,
    loss_p,
    pairs,
    tree_spread,
)

NAN = math.nan
# Critical |t| at Holm's first step: edges, degrees of freedom of the tree's spread, at 5, 8, 12, 20 and 40 seeds; then
# those of the two one-sided tests.
CRITICAL = """
 1 0  3.747 3.499 3.497 3.481 3.232  5.598 4.029 3.106 2.539 2.125
 2 2  3.707 3.690 3.735 3.726 3.467  4.981 4.146 3.372 2.831 2.421
 3 4  3.632 3.728 3.822 3.841 3.594  4.640 4.132 3.484 2.982 2.581
 7 6  3.922 4.030 4.121 4.127 3.862  4.809 4.403 3.801 3.307 2.903
15 6  4.401 4.440 4.475 4.422 4.108  5.329 4.822 4.152 3.612 3.180
40 6  5.049 4.984 4.937 4.800 4.416  6.042 5.382 4.609 3.996 3.520
"""


def edge(differences: list[float]) -> list[Pair]:
    return [Pair(difference, 0) for difference in differences]


def test_the_shares_of_the_looks_add_up_to_1() -> None:
    assert sum(LOOKS.values()) == sum(EQUIVALENCE_SHARES.values()) == 1
    assert list(EQUIVALENCE_SHARES) == list(LOOKS) == [5, 8, 12, 20, 40]
    assert list(EQUIVALENCE_SHARES.values()) == [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]


@pytest.mark.parametrize("line", CRITICAL.strip().splitlines())
def test_critical_values(line: str) -> None:
    edges, freedom, *expected = map(float, line.split())
    found = [critical(look, int(edges), look - 1 + int(freedom)) for look in LOOKS]
    found += [
        -float(stdtrit(look - 1 + int(freedom), ALPHA * share / edges)) for look, share in EQUIVALENCE_SHARES.items()
    ]
    assert found == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("line", CRITICAL.strip().splitlines())
def test_the_trees_spread_counts_for_at_most_six_degrees_of_freedom(line: str) -> None:
    edges, freedom = map(int, line.split()[:2])
    assert tree_spread([edge([0.1, 0.2, 0.0, 0.3, 0.1])] * edges).freedom == freedom


def test_the_trees_spread_is_that_of_the_first_five_complete_pairs() -> None:
    rows = [[0.1, NAN, 0.4, 0.2, 0.9, 0.3, 7.0], [0.2, 0.1, 0.5, 0.6, 0.3], [1.0, 2.0, 9.0, NAN, 4.0]]
    found = tree_spread(map(edge, rows))
    assert found == (pytest.approx((np.var([0.1, 0.4, 0.2, 0.9, 0.3], ddof=1) + np.var(rows[1], ddof=1)) / 2), 2)
    assert tree_spread([edge(rows[2])]) == TreeSpread(0.0, 0)


def test_one_edge_has_the_paired_t_test() -> None:
    """Student's sleep data (Biometrika 6, 1908): R's paired t.test prints t = -4.0621, df = 9, p-value = 0.002833."""
    drug_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    drug_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    made = pairs(dict(enumerate(drug_1)), dict(enumerate(drug_2)))
    look = look_at(made, tree_spread([made]), None)
    assert look.p == pytest.approx(0.002833, abs=5e-7) and look.freedom == 9
    assert look.mean / look.error == pytest.approx(-4.0621, abs=5e-5)


def test_a_small_spread_is_lifted_and_a_large_one_believed() -> None:
    row = [0.1, 0.2, 0.3, 0.15, 0.25]
    own = float(np.var(row, ddof=1))
    for factor, lifted in ((4.0, (6 * 4 * own + 4 * own) / 10), (0.25, own)):
        look = look_at(edge(row), TreeSpread(factor * own, 6), 0.1)
        assert look.error == pytest.approx(math.sqrt(lifted / 5)) and look.freedom == 10
        t = 0.2 / math.sqrt(lifted / 5)
        assert look.p == pytest.approx(2 * stats.t.sf(t, 10)) and not look.by_loss
        assert look.p_equal == pytest.approx(stats.t.sf((0.1 - 0.2) / look.error, 10))
    half = stats.t.isf(0.04 / 2 / 3 / 2, 10) * look.error
    assert look.interval(3) == pytest.approx((0.2 - half, 0.2 + half))


def test_pairs_are_in_order_of_seeds_and_count_losses() -> None:
    child, parent = {7: 1.0, 3: NAN, 5: 2.0, 1: NAN, 9: 4.0}, {1: NAN, 3: 1.0, 5: NAN, 7: 0.5, 8: 2.0}
    made = pairs(child, parent)
    assert [pair.lost for pair in made] == [0, 1, -1, 0]
    assert complete(made).tolist() == [0.5] and [math.isnan(pair.difference) for pair in made] == [True] * 3 + [False]


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_the_p_of_losses_counts_all_outcomes(seeds: int) -> None:
    """Each pair −1, 0 or 1 with probabilities ¼, ½, ¼: all 3ⁿ outcomes, weighted."""
    chance: Counter[int] = Counter()
    for outcome in itertools.product((-1, 0, 1), repeat=seeds):
        chance[abs(sum(outcome))] += math.prod(0.5 if lost == 0 else 0.25 for lost in outcome)  # type: ignore[assignment]
    for excess in range(seeds + 1):
        at_least = sum(share for size, share in chance.items() if size >= excess)
        assert loss_p(excess, seeds) == pytest.approx(at_least) and loss_p(-excess, seeds) == loss_p(excess, seeds)


def test_a_side_that_lost_more_seeds_is_not_better() -> None:
    row = [-0.5, -0.52, -0.51, -0.49, -0.5]
    lost = [Pair(NAN, 1)] * 3
    spread = TreeSpread(0.01, 6)
    whole = look_at(edge(row), spread, 1.0)
    assert whole.p < 1e-3
    child_lost = look_at(edge(row) + lost, spread, 1.0)
    assert child_lost.by_loss and child_lost.p == min(1, 2 * loss_p(3, 8)) and child_lost.p_equal == 1
    parent_lost = look_at(edge(row) + [Pair(NAN, -1)] * 3, spread, 1.0)
    assert not parent_lost.by_loss and parent_lost.p == pytest.approx(2 * whole.p) and parent_lost.p_equal == 1
    both_lost = look_at(edge(row) + [Pair(NAN, 0)] * 3, spread, 1.0)
    assert both_lost.p == pytest.approx(2 * whole.p) and both_lost.p_equal == pytest.approx(whole.p_equal)
    few = look_at(edge(row[:2]) + lost, spread, 1.0)
    assert few.p == loss_p(3, 5) and few.by_loss and math.isnan(few.error)


def test_without_any_spread_there_is_no_test() -> None:
    look = look_at(edge([0.3] * 5), TreeSpread(0.0, 0), 0.1)
    assert look.p == look.p_equal == 1 and math.isnan(look.error) and look.interval(3) == (-math.inf, math.inf)
    lifted = look_at(edge([0.0] * 5), TreeSpread(0.01, 6), 0.1)
    assert lifted.p == 1 and lifted.p_equal < 0.05, "equal pairs are tested with the tree's spread"


def test_holm_matches_a_hand_computed_example() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1, then never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 7.0]) == pytest.approx([0.02, 1.0]) and holm([]) == []


def test_holm_matches_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # statsmodels calls it each time: seconds in a large process
    rng = np.random.default_rng(0)
    for count in range(1, 41):
        p = rng.uniform(size=count) ** rng.choice([1, 4])
        p[rng.integers(count)] = p[0]  # ties
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)
