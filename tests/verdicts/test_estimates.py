"""Means and intervals over seeds: closed forms, and the range of what is possible."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ganealogy.verdicts.estimates import Estimate, estimate, mean

VALUES = [200.0, 210.0, 190.0, 205.0, 195.0]


def test_a_distance_has_the_interval_of_its_mean_logarithm() -> None:
    interval = estimate("fid", VALUES)
    ends = stats.t.interval(0.95, 4, np.log(VALUES).mean(), stats.sem(np.log(VALUES)))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((stats.gmean(VALUES), *map(math.exp, ends)))


def test_a_metric_of_any_sign_has_students_interval() -> None:
    values = [-0.001, 0.002, 0.004]
    kid = estimate("kid_x", values)
    ends = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (kid.mean, kid.low, kid.high) == pytest.approx((0.005 / 3, *ends))
    assert kid.low is not None and kid.low < 0
    assert estimate("fd_inf_x", [-1.0, 2.0, 9.0]).mean == pytest.approx(10 / 3), "as its other versions"


def test_shares_stay_between_0_and_1() -> None:
    values = [0.0, 0.4, 0.02, 0.31]
    share = estimate("memorised_x", values)
    half = stats.t.ppf(0.975, 3) * stats.sem(values) / (share.mean * (1 - share.mean))
    logit = math.log(share.mean / (1 - share.mean))
    expected = [1 / (1 + math.exp(-end)) for end in (logit - half, logit + half)]
    assert share.mean == pytest.approx(np.mean(values)) and [share.low, share.high] == pytest.approx(expected)
    rng = np.random.default_rng(0)
    for _ in range(100):
        found = estimate("precision_x", list(np.clip(rng.normal(rng.uniform(), 0.4, 2), 0, 1)))
        assert found.low is None or found.high is None or 0 <= found.low <= found.mean <= found.high <= 1


def test_positive_scores_stay_positive() -> None:
    values = [1.2, 9.0]
    vendi = estimate("vendi_x", values)
    half = stats.t.ppf(0.975, 1) * stats.sem(values) / 5.1
    assert (vendi.mean, vendi.low, vendi.high) == pytest.approx((5.1, 5.1 * math.exp(-half), 5.1 * math.exp(half)))
    assert vendi.low is not None and vendi.low > 0


@pytest.mark.parametrize("metric", ["fid", "kid_x", "precision_x", "vendi_x"])
def test_no_interval_of_width_0(metric: str) -> None:
    for values in ([0.0] * 5, [1.0] * 5, [0.37] * 5, [0.37, 0.37 * (1 + 1e-15)], [0.4], [0.4, math.nan]):
        found = estimate(metric, values)
        assert found.low is None and found.high is None and found.mean == pytest.approx(values[0])


def test_missing_values_and_extremes() -> None:
    assert estimate("fid", [7.0, math.nan, math.inf]) == Estimate((7.0,), 7.0)
    assert math.isnan(estimate("fid", []).mean) and estimate("fid", []).values == ()
    assert estimate("fid", [0.0, 1.0]) == Estimate((0.0, 1.0), 0.0), "the geometric mean, as for other versions"
    far = estimate("fid", [1e-300, 1e300])
    assert far.high is None and far.low is not None
    assert estimate("fid", [473.0] * 5).mean == 473.0, "rounding must not carry it past an anchor"
    assert mean("fid", [1.0, 4.0]) == pytest.approx(2.0) and mean("kid_x", [1.0, 4.0]) == 2.5
