"""The memorisation test on Gaussians: copies, samples of the distribution, and cases that only resemble copies."""

from __future__ import annotations

import numpy as np
import pytest

from ganealogy.evaluation.metrics.memorisation import Memorisation, memorisation
from ganealogy.evaluation.metrics.neighbours import nearest


def run_test(samples: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> Memorisation:
    sides = [nearest(samples, side, 1) for side in (train, holdout)]
    to_train, to_holdout = ((indices[:, 0], distances[:, 0]) for indices, distances in sides)
    return memorisation(to_train, to_holdout, len(train), len(holdout))


def gaussian(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 10))


@pytest.mark.parametrize("holdout", [50, 450])
def test_copies_are_flagged_for_any_size_of_the_holdout(holdout):
    train = gaussian(450, 1)
    result = run_test(train[:200] + 0.05 * gaussian(200, 2), train, gaussian(holdout, 3))
    assert result.flag and result.fraction > 0.95


def test_samples_of_the_same_distribution_are_equally_near_to_both_sides():
    results = [run_test(gaussian(200, 3 * s), gaussian(450, 3 * s + 1), gaussian(50, 3 * s + 2)) for s in range(40)]
    assert np.mean([result.fraction for result in results]) == pytest.approx(0.5, abs=0.05)
    assert not any(result.flag for result in results)
    assert 0.2 < np.mean([result.p < 0.5 for result in results]) < 0.8


def test_copies_of_held_out_pictures_are_not_flagged():
    holdout = gaussian(100, 3)
    result = run_test(holdout + 0.01, gaussian(450, 1), holdout)
    assert not result.flag and result.fraction < 0.1


def test_many_samples_near_one_training_picture_are_one_observation():
    """A collapsed generator has one nearest picture, and nine times in ten it is a training picture."""
    train = gaussian(450, 1)
    result = run_test(train[:1] + 0.05 * gaussian(200, 2), train, gaussian(50, 3))
    assert result.fraction == 1 and result.p > 0.05 and not result.flag


def test_a_tie_counts_half_for_each_side():
    same = np.zeros((20, 3))
    assert run_test(np.ones((30, 3)), same, same).fraction == pytest.approx(0.5)
