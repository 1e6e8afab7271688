"""The memorisation test on Gaussians: what copies, what does not, and what only looks like it."""

from __future__ import annotations

import numpy as np
import pytest

from ganealogy.evaluation.metrics.memorisation import Memorisation, memorisation
from ganealogy.evaluation.metrics.neighbours import nearest


def test_of(samples: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> Memorisation:
    sides = [nearest(samples, side, 1) for side in (train, holdout)]
    first = [(indices[:, 0], distances[:, 0]) for indices, distances in sides]
    return memorisation(first[0], first[1], len(train), len(holdout))


test_of.__test__ = False  # type: ignore[attr-defined]


def gaussian(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 10))


@pytest.mark.parametrize("holdout", [50, 450])
def test_copies_are_told_whatever_the_sides_numbers(holdout):
    train = gaussian(450, 1)
    found = test_of(train[:200] + 0.05 * gaussian(200, 2), train, gaussian(holdout, 3))
    assert found.flag and found.share > 0.95


def test_a_generator_that_learnt_the_distribution_is_as_near_to_either():
    found = [test_of(gaussian(200, 3 * s), gaussian(450, 3 * s + 1), gaussian(50, 3 * s + 2)) for s in range(40)]
    assert np.mean([f.share for f in found]) == pytest.approx(0.5, abs=0.05)
    assert not any(f.flag for f in found)
    assert 0.2 < np.mean([f.p < 0.5 for f in found]) < 0.8


def test_copies_of_held_out_pictures_are_not_flagged():
    holdout = gaussian(100, 3)
    found = test_of(holdout + 0.01, gaussian(450, 1), holdout)
    assert not found.flag and found.share < 0.1


def test_many_samples_about_one_training_picture_are_one_piece_of_evidence():
    """A collapsed generator has a nearest picture too, and nine times in ten it is a training picture."""
    train = gaussian(450, 1)
    found = test_of(train[:1] + 0.05 * gaussian(200, 2), train, gaussian(50, 3))
    assert found.share == 1 and found.p > 0.05 and not found.flag


def test_what_is_as_far_from_both_counts_half_for_each():
    same = np.zeros((20, 3))
    assert test_of(np.ones((30, 3)), same, same).share == pytest.approx(0.5)
