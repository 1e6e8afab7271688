"""Components of variance and standard deviations with intervals: published data, closed forms, a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ganealogy.record_types import NoiseJson
from ganealogy.verdicts import noise

DYESTUFF = [
    [1545, 1440, 1440, 1520, 1580],
    [1540, 1555, 1490, 1560, 1495],
    [1595, 1550, 1605, 1510, 1560],
    [1445, 1440, 1595, 1465, 1545],
    [1595, 1630, 1515, 1635, 1625],
    [1520, 1455, 1450, 1480, 1445],
]
"""Yields of six batches, five samples each: Davies and Goldsmith, Statistical Methods in Research, table 6.3."""


def test_published_components_are_found() -> None:
    """The published estimates: 1764 between the batches and 2451 within them."""
    found = noise.components("kid_x", DYESTUFF)
    assert found is not None and (found.seeds, found.sets) == (6, 5)
    assert (found.training**2, found.sampling**2) == pytest.approx((1764.05, 2451.25))
    assert found.share == pytest.approx(1764.05 / (1764.05 + 2451.25))
    assert found.total == pytest.approx(math.sqrt(1764.05 + 2451.25))


def test_a_distance_is_split_on_the_logarithm() -> None:
    groups = [[100.0, 110.0], [150.0, 140.0], [120.0, 125.0]]
    logs = [[math.log(value) for value in group] for group in groups]
    assert noise.components("fd_x", groups) == noise.components("kid_x", logs)


def test_groups_of_unequal_size_follow_the_closed_form() -> None:
    """Two groups, of three and two: means 2 and 6, sum of squares within 2 + 2, grand mean 3.6."""
    found = noise.components("kid_x", [[1.0, 2.0, 3.0], [5.0, 7.0]])
    between, within, size = 3 * 1.6**2 + 2 * 2.4**2, 4 / 3, 5 - 13 / 5
    assert found is not None and found.sampling**2 == pytest.approx(within)
    assert found.training**2 == pytest.approx((between - within) / size)


def test_a_negative_estimate_is_zero() -> None:
    found = noise.components("kid_x", [[1.0, 9.0], [2.0, 8.0], [5.0, 5.0]])
    assert found is not None and found.training == 0 and found.share == 0 and found.sampling > 0


@pytest.mark.parametrize(
    "groups",
    [[], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], []], [[1.0, 2.0], [0.0, 1.0]], [[1.0, 2.0], [math.nan, 1.0]]],
    ids=["nothing", "one seed", "one set", "a seed without values", "no logarithm", "NaN"],
)
def test_what_cannot_be_split_is_not(groups: list[list[float]]) -> None:
    assert noise.components("fd_x", groups) is None


def test_without_variance_there_is_no_share() -> None:
    found = noise.components("fd_x", [[3.0, 3.0], [3.0, 3.0]])
    assert found is not None and found.total == 0 and found.share is None


def test_the_variances_of_a_simulation_are_found() -> None:
    """Five seeds with three sets each, 4,000 times: the mean variances are those simulated, up to the cut at 0."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.10, (4000, 5, 1)) + rng.normal(0, 0.03, (4000, 5, 3)) + 4.6
    found = [noise.components("fd_x", np.exp(each).tolist()) for each in draws]
    assert np.mean([each.training**2 for each in found if each]) == pytest.approx(0.10**2, rel=0.04)
    assert np.mean([each.sampling**2 for each in found if each]) == pytest.approx(0.03**2, rel=0.04)


def test_the_interval_of_a_standard_deviation_is_the_chi_square_one() -> None:
    """For five values the quantiles of a table: 0.4844 and 11.1433 with four degrees of freedom."""
    found = noise.spread("kid_x", [1.0, 2.0, 3.0, 4.0, 5.0])
    sd = math.sqrt(2.5)
    assert found is not None and found.count == 5 and found.sd == pytest.approx(sd)
    assert found.low == pytest.approx(sd * math.sqrt(4 / 11.1433), rel=1e-4)
    assert found.high == pytest.approx(sd * math.sqrt(4 / 0.4844), rel=1e-4)
    assert noise.spread("kid_x", [1.0]) is None and noise.spread("fd_x", [1.0, -1.0]) is None


def record(**values: list[float | None]) -> NoiseJson:
    return {
        "version": "v1",
        "runs": 5,
        "plan": "p",
        "data": "d",
        "lead": "fd_x",
        "protocol": {},
        "values": {kind: {str(seed): value for seed, value in enumerate(each)} for kind, each in values.items()},
    }


def test_a_diverged_run_has_no_part_in_the_spread() -> None:
    found = noise.spreads(record(order=[100.0, 110.0, None], steps=[100.0, None]))
    assert found.keys() == {"order"} and found["order"].count == 2
    assert found["order"].sd == pytest.approx(math.log(1.1) / math.sqrt(2))


def test_the_sentence_claims_a_difference_only_where_intervals_are_apart() -> None:
    calm, wild = [100.0, 101.0, 102.0, 101.0, 100.0], [50.0, 200.0, 100.0, 30.0, 300.0]
    apart = noise.spreads(record(initialise=wild, order=calm, steps=calm, all=wild))
    small, large = (noise.amount("fd_x", apart[kind].sd) for kind in ("order", "all"))
    assert noise.sentence(apart, "fd_x") == (
        f"Most comes from the initial weights: {large} alone, against {small} from the order of the batches and "
        f"{small} from the draws of each step; all together {large}."
    )
    alike = noise.spreads(record(initialise=calm, order=calm, steps=calm))
    assert noise.sentence(alike, "fd_x") == (
        f"So few runs cannot separate the kinds: {small} to {small}, and the intervals overlap."
    )
    assert noise.sentence(noise.spreads(record(order=calm)), "fd_x") == ""
