"""Power analysis, checked against a published table and by simulating the test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ganealogy.errors import GanealogyError
from ganealogy.verdicts import power
from ganealogy.verdicts.significance import welch


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_power_equals_cohens_table(effect: float, seeds: int) -> None:
    """Cohen (Psychological Bulletin 112, 1992), table 2: two means, alpha 0.05, power 0.80 (393 there: rounded)."""
    assert power.seeds_for(effect, 0.8, 0.05) == seeds


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8])
def test_the_seeds_detect_the_difference_with_the_stated_power(alpha: float) -> None:
    seeds = power.seeds_for(1.5, 0.8, alpha)
    assert seeds is not None
    rng = np.random.default_rng(0)

    def detection_rate(count: int) -> float:
        return float((welch(rng.normal(1.5, 1, (4000, count)), rng.normal(0, 1, (4000, count))).p <= alpha).mean())

    assert detection_rate(seeds) == pytest.approx(power.power(1.5, seeds, seeds, alpha), abs=0.03)
    assert detection_rate(seeds) > 0.77 and detection_rate(seeds - 2) < 0.8


def test_smaller_differences_more_power_and_more_edges_need_more_seeds() -> None:
    spread = power.spread("fid", [100.0, 120.0, 110.0], [130.0, 150.0, 140.0])
    needs = power.required_seeds(spread, [0.5, 0.05, 0.2, 0.2], 0.8, 8, 0.05)
    assert [need.difference for need in needs] == [0.05, 0.2, 0.5]
    counts = [(need.alone or 0, need.strictest or 0) for need in needs]
    assert counts == sorted(counts, reverse=True) and counts[0][1] > counts[0][0] > 5 and counts[-1][0] == 5
    stronger = power.required_seeds(spread, [0.05], 0.95, 8, 0.05)[0]
    assert stronger.alone is not None and stronger.alone > counts[0][0]
    assert all(0.999 < power.power(effect, 5, 5, 0.05 / 40) <= 1 for effect in np.linspace(7, 50, 60))
    assert power.seeds_for(1e-4, 0.8, 0.05) is None and power.seeds_for(1e6, 0.8, 0.001) == 5


def test_the_spread_is_pooled_on_the_scale_of_comparison() -> None:
    a, b = [100.0, 120.0, 110.0], [130.0, 150.0]
    spread = power.spread("fid", [*a, math.nan], b)
    squares = 2 * np.log(a).var(ddof=1) + np.log(b).var(ddof=1)
    assert spread.deviation == pytest.approx(math.sqrt(squares / 3)) and spread.freedom == 3
    # chi-squared with 3 degrees of freedom: 0.2158 and 9.3484 cut off 2.5 % (printed tables)
    assert (spread.low, spread.high) == pytest.approx(
        (math.sqrt(squares / 9.3484), math.sqrt(squares / 0.2158)), rel=1e-3
    )
    assert spread.difference(spread.effect(0.1)) == pytest.approx(0.1)
    linear = power.spread("kid_x", [0.1, 0.2], [0.3, 0.5])
    assert not linear.log and linear.effect(0.1) == pytest.approx(0.04 / linear.deviation)


def test_the_smallest_difference_that_the_existing_seeds_detect() -> None:
    effect = power.smallest_effect(6, 9, 0.8, 0.05)
    assert effect is not None and power.power(effect, 6, 9, 0.05) == pytest.approx(0.8)
    assert power.smallest_effect(4, 9, 0.8, 0.05) is None


@pytest.mark.parametrize(
    ("metric", "child", "parent", "message"),
    [
        ("fid", [1.0], [1.0, 2.0], "1 and 2 seeds"),
        ("fid", [1.0, math.nan], [1.0, 2.0], "1 and 2 seeds"),
        ("fid", [1.0, 1.0], [2.0, 2.0], "same for every seed"),
        ("fid", [0.0, 1.0], [2.0, 3.0], "no logarithm"),
        ("kid_x", [0.0, 1.0], [-1.0, 1.0], "mean kid_x is 0"),
    ],
)
def test_no_plan_without_a_spread_or_a_relative_difference(
    metric: str, child: list[float], parent: list[float], message: str
) -> None:
    with pytest.raises(GanealogyError, match=message):
        power.spread(metric, child, parent)


def test_fractions_are_parsed_and_ambiguous_ones_refused() -> None:
    assert [power.parse_fraction(text) for text in ("10%", "10 %", "0.1", " .1 ", "150%")] == [0.1, 0.1, 0.1, 0.1, 1.5]
    for text in ("10", "0", "-5%", "nan", "ten", "", "%", "2000%", "inf%"):
        with pytest.raises(GanealogyError, match=r"10% or 0\.1"):
            power.parse_fraction(text)
