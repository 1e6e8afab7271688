"""KID against a double loop and torch-fidelity, its bias, and its standard error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics import neighbours
from ganealogy.evaluation.metrics.kid import draw_subsets, kid, setup, subset_size, sums_within


def by_loops(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(x):
        pairs = [kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        return np.mean(pairs)

    return float(within(a) + within(b) - 2 * np.mean([kernel(x, y) for x in a for y in b]))


def sets(seed: int, count_a: int = 60, count_b: int = 80, dimension: int = 6, shift: float = 0.3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count_a, dimension)), rng.standard_normal((count_b, dimension)) + shift


@pytest.mark.parametrize("side", [16, 1000])
def test_equals_a_double_loop_over_each_subset(side, monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", side)
    a, b = sets(0)
    rng = np.random.RandomState(5)
    expected = []
    for _ in range(3):
        chosen_a = rng.choice(len(a), 20, replace=False)
        chosen_b = rng.choice(len(b), 20, replace=False)
        expected.append(by_loops(a[chosen_a], b[chosen_b]))
    got = kid(a, b, subsets=3, size=20, seed=5)
    assert got.value == pytest.approx(np.mean(expected), rel=1e-10)
    assert got.standard_error == pytest.approx(np.std(expected, ddof=1) * np.sqrt(20 / (60 - 20)), rel=1e-10)


@pytest.mark.parametrize("size", [20, 100], ids=["a product per subset", "every pair once"])
def test_equals_torch_fidelity_on_the_same_subsets(size, monkeypatch):
    """20 subsets of 20 have fewer pairs than 300 x 400; 20 of 100 have more."""
    tiles, blocks = [], neighbours.blocks

    def recording_blocks(count, device):
        tiles.append(count)
        return blocks(count, device)

    a, b = sets(0, 300, 400, dimension=64)
    monkeypatch.setattr("ganealogy.evaluation.metrics.kid.blocks", recording_blocks)
    options = {"kid_subsets": 20, "kid_subset_size": size, "rng_seed": 2020, "verbose": False}
    theirs = kid_features_to_metric(torch.from_numpy(a), torch.from_numpy(b), **options)
    ours = kid(a, b, subsets=20, size=size)
    assert tiles == ([300, 400] if size == 20 else [300, 400, 300, 300, 300, 400, 400, 400])  # also for the diagonals
    assert ours.value == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-10)
    spread = theirs[KEY_METRIC_KID_STD] * np.sqrt(20 / 19)  # theirs divides by the number of subsets
    assert ours.standard_error == pytest.approx(spread * np.sqrt(size / (300 - size)), rel=1e-10)


def test_subsets_are_drawn_alternately_from_one_generator():
    rng = np.random.RandomState(4)
    expected = [rng.choice(count, 6, replace=False) for count in (20, 30, 20, 30)]
    chosen_a, chosen_b = draw_subsets(setup(20, 30, 2, 6, 4))
    np.testing.assert_array_equal(chosen_a, expected[::2])
    np.testing.assert_array_equal(chosen_b, expected[1::2])


def test_given_sums_are_not_computed_again(monkeypatch):
    a, b = sets(0)
    expected, sums_b = kid(a, b), sums_within(b, setup(60, 80), 1)
    sides = []

    def recording(features, setup, side, device):
        sides.append(side)
        return sums_within(features, setup, side, device)

    monkeypatch.setattr("ganealogy.evaluation.metrics.kid.sums_within", recording)
    assert kid(a, b, sums_within_b=sums_b) == expected
    assert sides == [0]


def test_depends_on_the_seed_alone():
    a, b = sets(0)
    assert kid(a, b) == kid(a, b)
    assert kid(a, b).value != kid(a, b, seed=1).value


def test_subset_size_is_1000_or_half_the_smaller_set():
    assert subset_size(5000, 2000) == 1000
    assert subset_size(500, 2000) == 250
    assert kid(*sets(0)).subset_size == 30


def test_is_unbiased_for_small_sets():
    """Two sets of one distribution: the mean is 0, with values on either side."""
    values = [kid(*sets(seed, 16, 16, shift=0), subsets=20).value for seed in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0 < max(values)


def test_the_standard_error_equals_the_spread_over_repetitions():
    estimates = [kid(*sets(seed, 200, 200)) for seed in range(60)]
    spread = np.std([estimate.value for estimate in estimates])
    assert np.median([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.35)


def test_too_few_images_are_rejected():
    with pytest.raises(GanealogyError, match="4 images per side"):
        kid(*sets(0, 3, 80))
