"""The whitened Fréchet distance, against its definition with a matrix square root, and in closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.metrics.whitened import Whitening


def features(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, dimensions)) @ rng.standard_normal((dimensions, dimensions)) + 3


@pytest.mark.parametrize("unseen", [0.0, 0.7])
def test_equals_its_definition(unseen: float) -> None:
    reals, fakes = features(300, 12, 0), features(200, 12, 1)
    values, vectors = np.linalg.eigh(np.cov(reals.T))
    values, vectors = values[::-1][:5], vectors[:, ::-1][:, :5]
    a, b = ((x - reals.mean(axis=0)) @ vectors / np.sqrt(values + unseen**2) for x in (fakes, reals))
    cross = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    plain = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * cross)
    expected = plain / (values / (values + unseen**2)).sum()
    assert Whitening.of(reals, 5, unseen).distance(fakes) == pytest.approx(expected, rel=1e-9)


def test_the_reals_themselves_are_at_zero_and_their_mean_repeated_at_one() -> None:
    reals = features(300, 12, 0)
    whitening = Whitening.of(reals, 8, 0.3)
    assert whitening.distance(reals) == pytest.approx(0, abs=1e-9)
    assert whitening.distance(np.repeat(reals.mean(axis=0, keepdims=True), 50, axis=0)) == pytest.approx(1)


def test_a_shift_of_one_component_by_its_deviation_adds_its_share() -> None:
    reals = features(300, 6, 0)
    values, vectors = np.linalg.eigh(np.cov(reals.T))
    shifted = reals + vectors[:, -1] * np.sqrt(values[-1])
    assert Whitening.of(reals, 6, 0.0).distance(shifted) == pytest.approx(1 / 6)


def test_fewer_images_or_dimensions_than_components_leave_fewer_components() -> None:
    assert Whitening.of(features(300, 4, 0), 32, 0.1).basis.shape == (4, 4)
    few = features(5, 10, 0)
    assert Whitening.of(few, 32, 0.1).basis.shape == (10, 4)
    assert Whitening.of(few, 32, 0.0).distance(few) == pytest.approx(0, abs=1e-6)


def test_constant_dimensions_are_left_out() -> None:
    reals = np.hstack([features(300, 3, 0), np.full((300, 2), 7.0)])
    assert Whitening.of(reals, 5, 0.0).basis.shape == (5, 3)


def test_reals_without_variance_and_damaged_features_are_errors() -> None:
    with pytest.raises(GanealogyError, match="same features"):
        Whitening.of(np.ones((20, 3)), 2, 0.1)
    with pytest.raises(GanealogyError, match="NaN"):
        Whitening.of(features(20, 3, 0), 2, 0.1).distance(np.full((20, 3), np.nan))
