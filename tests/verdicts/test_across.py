"""The mean over data sets equals a transcription, and its interval keeps its level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from ganealogy.verdicts.across import across


def transcription(y: np.ndarray, s: np.ndarray) -> tuple[float, float, float]:
    """Paule and Mandel's τ² solves Σ w (y − ȳ)² = k − 1 with w = 1 / (s² + τ²); Hartung and Knapp's half width."""
    k = len(y)

    def weighted(tau2: float) -> tuple[float, float, float]:
        w = 1 / (s**2 + tau2)
        mean = float((w * y).sum() / w.sum())
        return float((w * (y - mean) ** 2).sum()), mean, float(w.sum())

    tau2 = 0.0 if weighted(0.0)[0] <= k - 1 else optimize.brentq(lambda t: weighted(t)[0] - (k - 1), 0, 10, xtol=1e-12)
    q, mean, total = weighted(tau2)
    half = stats.t.ppf(0.975, k - 1) * math.sqrt(max(1.0, q / (k - 1)) / total)
    return mean, half, math.sqrt(tau2)


@pytest.mark.parametrize("seed", range(6))
def test_it_equals_the_transcription(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = 2 + seed
    s = rng.uniform(0.02, 0.1, k)
    y = rng.normal(-0.2, 0.01 if seed % 2 else 0.3, k)
    found, (mean, half, between) = across(list(y), list(s)), transcription(y, s)
    assert found is not None
    np.testing.assert_allclose(
        [found.mean, found.low, found.high], [mean, mean - half, mean + half], rtol=1e-4, atol=1e-6
    )
    assert found.between == pytest.approx(between, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("between", [0.0, 0.15])
def test_the_interval_holds_in_95_of_100(between: float) -> None:
    rng = np.random.default_rng(5)
    held = []
    for _ in range(400):
        s = rng.uniform(0.03, 0.08, 4)
        found = across(list(rng.normal(-0.2, np.hypot(between, s))), list(s))
        assert found is not None
        held.append(found.low <= -0.2 <= found.high)
    assert np.mean(held) >= 0.93


def test_one_data_set_has_no_mean_over_several() -> None:
    assert across([-0.2], [0.05]) is None
    with pytest.raises(ValueError, match="standard errors must be positive"):
        across([-0.2, 0.1], [0.05, math.nan])
