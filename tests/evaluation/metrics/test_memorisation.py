"""The memorisation tests on Gaussians: copies, samples of the distribution, and cases that only resemble copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.memorisation import Memorisation, fisher, memorisation, ratios
from ganealogy.evaluation.metrics.neighbours import nearest


def run_test(samples: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> Memorisation:
    indices, distances = nearest(samples, holdout, 1)
    held_out = ratios(nearest(holdout, train, 5)[1])
    to_holdout = indices[:, 0], distances[:, 0]
    return memorisation(nearest(samples, train, 5), to_holdout, held_out, len(train), len(holdout))


def gaussian(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 10))


@pytest.mark.parametrize("holdout", [50, 450])
def test_copies_are_flagged_for_any_size_of_the_holdout(holdout):
    train = gaussian(450, 1)
    result = run_test(train[:200] + 0.05 * gaussian(200, 2), train, gaussian(holdout, 3))
    assert result.flag and result.fraction > 0.95 and result.copies > 0.95 and result.originals > 190


@pytest.mark.parametrize("share", [8, 4])
def test_a_generator_that_copies_a_quarter_or_an_eighth_is_flagged(share):
    train, fresh = gaussian(2000, 1), gaussian(200, 4)
    fresh[: 200 // share] = train[: 200 // share] + 0.02 * gaussian(200 // share, 2)
    result = run_test(fresh, train, gaussian(200, 3))
    assert result.flag and result.copies == pytest.approx(1 / share, abs=0.03)
    assert result.fraction < 0.75, "which alone would miss it"
    assert f"of {result.originals} training pictures" in result.reason and "p = " in result.reason


def test_samples_of_the_same_distribution_are_equally_near_to_both_sides():
    results = [run_test(gaussian(200, 3 * s), gaussian(450, 3 * s + 1), gaussian(50, 3 * s + 2)) for s in range(40)]
    assert np.mean([result.fraction for result in results]) == pytest.approx(0.5, abs=0.05)
    assert not any(result.flag for result in results)
    assert 0.2 < np.mean([result.p < 0.5 for result in results]) < 0.8
    assert np.mean([result.copies for result in results]) == pytest.approx(1 / 50, abs=0.01)
    assert np.mean([result.copies_p < 0.05 for result in results]) <= 0.1


@pytest.mark.parametrize("scale", [0.0, 0.3, 0.7, 3.0])
def test_samples_near_the_mean_or_far_from_all_pictures_are_no_copies(scale):
    """Blurred samples are nearer to training pictures than held-out pictures are, and so would a distance flag them."""
    result = run_test(scale * gaussian(200, 2), gaussian(450, 1), gaussian(50, 3))
    assert result.copies < 0.05 and not result.flag


def test_copies_of_held_out_pictures_are_not_flagged():
    holdout = gaussian(100, 3)
    result = run_test(holdout + 0.01, gaussian(450, 1), holdout)
    assert not result.flag and result.fraction < 0.1


def test_many_samples_near_one_training_picture_are_one_observation():
    """A collapsed generator has one nearest picture, and nine times in ten it is a training picture."""
    train = gaussian(450, 1)
    result = run_test(train[:1] + 0.05 * gaussian(200, 2), train, gaussian(200, 3))
    assert result.fraction == 1 and result.p > 0.05 and not result.flag
    assert result.originals == 1 and result.copies_p > 0.005
    assert "too few distinct neighbours to tell" in result.reason


def test_copies_of_few_pictures_are_flagged():
    train = gaussian(450, 1)
    result = run_test(np.repeat(train[:20], 10, axis=0), train, gaussian(200, 3))
    assert result.copies == 1 and result.originals == 20 and result.flag


def test_a_tie_counts_half_for_each_side():
    same = np.zeros((60, 3))
    result = run_test(np.ones((60, 3)), same, same)
    assert result.fraction == pytest.approx(0.5) and not result.flag


@pytest.mark.parametrize(("samples", "holdout"), [(49, 60), (60, 49)])
def test_too_few_pictures_are_not_tested(samples, holdout):
    with pytest.raises(GanealogyError, match=f"there are {samples} and {holdout}"):
        run_test(gaussian(samples, 1), gaussian(100, 2), gaussian(holdout, 3))


@pytest.mark.parametrize(("a", "n", "b", "m"), [(0, 50, 1, 50), (5, 60, 1, 100), (30, 500, 6, 592), (50, 50, 0, 70)])
def test_fishers_test_equals_scipys(a, n, b, m):
    expected = stats.fisher_exact([[a, n - a], [b, m - b]], "greater").pvalue
    assert fisher(a, n, b, m) == pytest.approx(expected, rel=1e-9)


def test_a_ratio_of_zeros_is_no_copy():
    np.testing.assert_array_equal(ratios(np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [1.0, 3.0, 4.0]])), [0, 1, 0.25])
