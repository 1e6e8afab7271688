"""Power analysis, checked by simulating the test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.simulated_trees import Scenario, differences, draw, every_look
from scipy import stats

from ganealogy.errors import GanealogyError
from ganealogy.verdicts import power
from ganealogy.verdicts.looks import LOOKS, critical
from ganealogy.verdicts.power import Spread
from ganealogy.verdicts.significance import Edge, family

LOST = math.nan


def tree(*rows: list[float], metric: str = "fid") -> dict[str, Edge]:
    """Return the edges of a star whose root is the first row."""
    values = {f"v{at}": dict(enumerate(row)) for at, row in enumerate(rows)}
    return family(metric, values, {name: None if name == "v0" else "v0" for name in values})


def known(deviation: float = 0.1, family: int = 7, tree_freedom: int = 6) -> Spread:
    return Spread(deviation, deviation, deviation, 10, tree_freedom, family, True, 1.0)


@pytest.mark.parametrize("look", LOOKS)
def test_the_power_is_that_of_the_test_at_its_own_level(look: int) -> None:
    spread = known()
    effect = power.smallest_effect(spread, look, 0.6)
    assert effect is not None and spread.power(effect, look) == pytest.approx(0.6)
    rng = np.random.default_rng(look)
    scenario = Scenario(tuple([0] * 7), tuple([0.1 / math.sqrt(2)] * 8), 0.0)
    logs = draw(rng, scenario, 6000)
    difference = differences(logs, scenario.parents)
    difference[:, 0] += effect
    rates = {}
    for at, _, mean, error, freedom in every_look(difference):
        rates[at] = float(np.mean(mean[:, 0] / error[:, 0] >= critical(at, 7, freedom)))
    # the lift makes the test a little more careful than the noncentral t
    assert 0.5 < rates[look] < 0.63


def test_one_edge_has_the_power_of_the_paired_t() -> None:
    spread = known(family=1, tree_freedom=0)
    threshold = stats.t.isf(0.04 / 4 / 2, 7)
    expected = stats.nct.sf(threshold, 7, 0.15 * math.sqrt(8) / 0.1)
    assert spread.power(0.15, 8) == pytest.approx(expected)
    assert spread.power(1e3, 5) == 1.0 and spread.power(0.0, 5) == pytest.approx(0.01, abs=1e-6)


def test_smaller_differences_more_power_and_more_edges_need_more_seeds() -> None:
    rows = power.required_seeds(known(), [0.5, 0.05, 0.2, 0.2], 0.8)
    assert [row.difference for row in rows] == [0.05, 0.2, 0.5]
    assert [row.seeds for row in rows] == [None, 8, 5]
    assert known().look_for(math.log1p(0.2), 0.95) == 12 and known(family=100).look_for(math.log1p(0.2), 0.8) == 20
    assert known().look_for(1e-4, 0.8) is None and known().look_for(50.0, 0.999) == 5


def test_the_spread_combines_the_edges_pairs_and_the_trees() -> None:
    rng = np.random.default_rng(0)
    rows = [list(np.exp(rng.normal(5, 0.1, 9))) for _ in range(4)]
    rows[1][2] = LOST
    edges = tree(*rows)
    spread = power.spread(edges["v1"], edges)
    logs = np.log(rows)
    of = [logs[at] - logs[0] for at in (1, 2, 3)]
    own = np.delete(of[0], 2)
    first = np.mean([own[:5].var(ddof=1), of[1][:5].var(ddof=1), of[2][:5].var(ddof=1)])
    squares = 4 * first + 7 * own.var(ddof=1)
    assert (spread.freedom, spread.tree_freedom, spread.family) == (11, 4, 3)
    assert spread.deviation == pytest.approx(math.sqrt(squares / 11))
    # chi-squared with 11 degrees of freedom: 5.578 and 17.275 cut off 10 % (printed tables)
    assert (spread.low, spread.high) == pytest.approx(
        (math.sqrt(squares / 17.275), math.sqrt(squares / 5.578)), rel=1e-3
    )
    assert spread.difference(spread.effect(0.1)) == pytest.approx(0.1)


def test_the_range_of_seeds_follows_the_spread() -> None:
    edges = tree([100.0, 110.0, 90.0, 105.0, 95.0], [80.0, 91.0, 75.0, 79.0, 82.0], [70.0, 71.0, 77.0, 69.0, 72.0])
    (row,) = power.required_seeds(power.spread(edges["v1"], edges), [0.2], 0.8)
    assert row.low is not None and row.seeds is not None and row.low <= row.seeds <= (row.high or math.inf)
    assert row.low < (row.high or math.inf)


def test_linear_differences_are_relative_to_the_parents_mean() -> None:
    edges = tree([0.3, 0.5], [0.1, 0.2], metric="kid_x")
    spread = power.spread(edges["v1"], edges)
    assert (
        not spread.log and spread.effect(0.1) == pytest.approx(0.04) and spread.difference(0.04) == pytest.approx(0.1)
    )
    assert spread.deviation == pytest.approx(np.std([-0.2, -0.3], ddof=1)) and spread.tree_freedom == 0


def test_the_smallest_effect_is_that_of_the_last_look() -> None:
    assert power.smallest_effect(known(), 4, 0.8) is None
    assert power.smallest_effect(known(), 7, 0.8) == power.smallest_effect(known(), 5, 0.8)
    effects = [power.smallest_effect(known(), look, 0.8) or 0 for look in LOOKS]
    assert effects == sorted(effects, reverse=True)


@pytest.mark.parametrize(
    ("metric", "child", "parent", "message"),
    [
        ("fid", [1.0], [1.0, 2.0], "1 seeds of both v1 and v0 have a fid"),
        ("fid", [1.0, LOST], [1.0, 2.0], "1 seeds of both"),
        ("fid", [1.0, 1.0], [2.0, 2.0], "same number for every seed"),
        ("kid_x", [0.0, 1.0], [-1.0, 1.0], "mean kid_x of v0 is 0"),
    ],
)
def test_no_plan_without_a_spread_or_a_relative_difference(
    metric: str, child: list[float], parent: list[float], message: str
) -> None:
    edges = tree(parent, child, metric=metric)
    with pytest.raises(GanealogyError, match=message):
        power.spread(edges["v1"], edges)


def test_fractions_are_parsed_and_ambiguous_ones_refused() -> None:
    assert [power.parse_fraction(text) for text in ("10%", "10 %", "0.1", " .1 ", "150%")] == [0.1, 0.1, 0.1, 0.1, 1.5]
    for text in ("10", "0", "-5%", "nan", "ten", "", "%", "2000%", "inf%"):
        with pytest.raises(GanealogyError, match=r"10% or 0\.1"):
            power.parse_fraction(text)
