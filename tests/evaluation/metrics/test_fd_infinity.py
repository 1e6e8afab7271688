"""FD∞ for sets with a known distance."""

from __future__ import annotations

import numpy as np
import pytest

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.fd_infinity import counts, fd_infinity
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance


def test_is_nearer_to_the_true_distance_than_the_plain_distance():
    """Unit Gaussians shifted by 0.1 in each of 16 dimensions: 0.16 apart."""
    true = Moments(np.zeros(16), covariance=np.eye(16))
    plain, extrapolated = [], []
    for seed in range(10):
        fakes = np.random.default_rng(seed).standard_normal((400, 16)) + 0.1
        plain.append(frechet_distance(Moments.of(fakes), true))
        extrapolated.append(fd_infinity(fakes, true))
    assert abs(np.mean(extrapolated) - 0.16) < 0.25 * abs(np.mean(plain) - 0.16)


def test_equals_a_line_fitted_through_the_subsets():
    fakes = np.random.default_rng(0).standard_normal((80, 8)) + 0.3
    reals = Moments.of(np.random.default_rng(1).standard_normal((64, 8)))
    rng = np.random.RandomState(2020)
    sizes = counts(80, 8)
    distances = [frechet_distance(Moments.of(fakes[rng.choice(80, size, replace=False)]), reals) for size in sizes]
    expected = np.linalg.lstsq(np.stack([np.ones(15), 1 / np.array(sizes)], axis=1), distances, rcond=None)[0][0]
    assert fd_infinity(fakes, reals) == pytest.approx(expected, rel=1e-9)


def test_is_deterministic():
    fakes = np.random.default_rng(0).standard_normal((64, 8))
    reals = Moments.of(np.random.default_rng(1).standard_normal((64, 8)))
    assert fd_infinity(fakes, reals) == fd_infinity(fakes, reals)


def test_subset_sizes_end_at_all_images():
    assert counts(768, 192)[0] == 384 and counts(768, 192)[-1] == 768
    assert counts(50_000, 2048)[0] == 5000 and len(counts(50_000, 2048)) == 15


def test_fewer_than_four_images_per_dimension_are_rejected():
    with pytest.raises(GanealogyError, match="needs 32 images, 4 for each of 8 dimensions; there are 31"):
        fd_infinity(np.ones((31, 8)), Moments.of(np.eye(8)))


def test_another_function_can_compute_the_moments():
    fakes = np.random.default_rng(0).standard_normal((64, 8))
    reals = Moments.of(np.random.default_rng(1).standard_normal((64, 8)))
    sizes = []

    def moments(subset: np.ndarray) -> Moments:
        sizes.append(len(subset))
        return Moments.of(subset)

    assert fd_infinity(fakes, reals, moments) == fd_infinity(fakes, reals)
    assert sorted(sizes) == counts(64, 8)
