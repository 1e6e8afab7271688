"""Precision, recall, density and coverage against their authors' package; the memory they take."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from prdc import compute_prdc

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import neighbours
from ganealogy.evaluation.features import FeatureSet
from ganealogy.evaluation.prdc import prdc


def ours(fakes: np.ndarray, reals: np.ndarray, k: int = 5) -> dict[str, float]:
    return prdc(fakes, reals, neighbours.squared_radii(fakes, k), neighbours.squared_radii(reals, k), k)


def features(count: int, seed: int, shift: float = 0.0, dimension: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, dimension)) * np.linspace(1, 0.2, dimension) + shift).astype(np.float32)


@pytest.mark.filterwarnings("ignore")  # the package asks for eight threads
@pytest.mark.parametrize(("shift", "k"), [(0.0, 5), (0.3, 5), (1.0, 3), (9.0, 5)])
def test_equals_the_authors_package(shift, k, monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 64)  # several blocks, the last of them not whole
    fakes, reals = features(150, 1, shift), features(230, 2)
    assert ours(fakes, reals, k) == pytest.approx(compute_prdc(reals, fakes, k), rel=1e-12)


def test_a_far_common_offset_changes_nothing():
    fakes, reals = features(100, 1, 0.2).astype(np.float64), features(120, 2).astype(np.float64)
    assert ours(fakes + 1e4, reals + 1e4) == ours(fakes, reals)


def test_does_not_depend_on_order():
    fakes, reals = features(100, 1, 0.2), features(120, 2)
    assert ours(fakes[::-1].copy(), np.roll(reals, 7, axis=0)) == pytest.approx(ours(fakes, reals))


def test_one_picture_repeated_recalls_nothing():
    reals = features(120, 2)
    inside = ours(np.tile(reals.mean(0), (80, 1)), reals)
    assert inside["recall"] == 0 and inside["precision"] in (0, 1)
    assert inside["coverage"] < 1


def test_too_few_images_are_said():
    with pytest.raises(GanealogyError, match="more than 5 images a side, there are 5"):
        _ = FeatureSet(features(5, 1)).squared_radii


def test_memory_grows_with_one_side_only():
    """4,000 x 4,000 distances would be 128 MB."""
    fakes, reals = features(4000, 1), features(4000, 2)
    tracemalloc.start()
    ours(fakes, reals)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6
