"""Precision, recall, density and coverage against their authors' package, and their peak memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from prdc import compute_prdc
from scipy.spatial.distance import cdist

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import FeatureSet
from ganealogy.evaluation.metrics import neighbours
from ganealogy.evaluation.metrics.prdc import prdc


def ours(fakes: np.ndarray, reals: np.ndarray, k: int = 5) -> dict[str, float]:
    return prdc(fakes, reals, neighbours.squared_radii(fakes, k), neighbours.squared_radii(reals, k), k)


def features(count: int, seed: int, shift: float = 0.0, dimension: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, dimension)) * np.linspace(1, 0.2, dimension) + shift).astype(np.float32)


@pytest.mark.filterwarnings("ignore")  # the package requests eight threads
@pytest.mark.parametrize(("shift", "k"), [(0.0, 5), (0.3, 5), (1.0, 3), (9.0, 5)])
def test_equals_the_authors_package(shift, k, monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", 64)  # several tiles, the last one partial
    fakes, reals = features(150, 1, shift), features(230, 2)
    assert ours(fakes, reals, k) == pytest.approx(compute_prdc(reals, fakes, k), rel=1e-12)


def test_a_large_common_offset_changes_nothing():
    fakes, reals = features(100, 1, 0.2).astype(np.float64), features(120, 2).astype(np.float64)
    assert ours(fakes + 1e4, reals + 1e4) == ours(fakes, reals)


def test_does_not_depend_on_order():
    fakes, reals = features(100, 1, 0.2), features(120, 2)
    assert ours(fakes[::-1].copy(), np.roll(reals, 7, axis=0)) == pytest.approx(ours(fakes, reals))


def test_one_repeated_picture_has_no_recall():
    reals = features(120, 2)
    inside = ours(np.tile(reals.mean(0), (80, 1)), reals)
    assert inside["recall"] == 0 and inside["precision"] in (0, 1)
    assert inside["coverage"] < 1


def test_too_few_images_are_rejected():
    with pytest.raises(GanealogyError, match="more than 5 images per side, there are 5"):
        _ = FeatureSet(features(5, 1)).squared_radii()


def by_definition(fakes: np.ndarray, reals: np.ndarray, k: int = 5) -> dict[str, float]:
    """From differences of features, which are equal for copies to the last bit."""
    fake_radii, real_radii = (np.sort(cdist(side, side, "sqeuclidean"), axis=1)[:, k] for side in (fakes, reals))
    squares = cdist(reals, fakes, "sqeuclidean")
    inside = squares <= real_radii[:, None]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (squares <= fake_radii).any(axis=1).mean(),
        "density": inside.sum() / k / len(fakes),
        "coverage": inside.any(axis=1).mean(),
    }


def copies() -> tuple[np.ndarray, np.ndarray]:
    """Fakes that are copies of reals, some repeated: many are exactly on the rim of a ball."""
    pictures = features(120, 3, dimension=40)
    return np.concatenate([pictures[:70], pictures[:70], features(20, 4, dimension=40)]), np.concatenate(
        [pictures, pictures[:30], *[pictures[:10]] * 5]
    )


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Integer features, which have few different distances."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, (300, 4)).astype(np.float32), rng.integers(0, 3, (500, 4)).astype(np.float32)


@pytest.mark.parametrize("sets", [copies, grid])
@pytest.mark.parametrize("side", [64, 1024])
def test_points_on_the_rim_of_a_ball_are_inside(sets, side, monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", side)
    fakes, reals = sets()
    assert ours(fakes, reals) == pytest.approx(by_definition(fakes.astype(float), reals.astype(float)), rel=1e-12)


def test_constant_sets_cover_each_other():
    same = np.ones((40, 6), np.float32)
    assert ours(same, same) == {"precision": 1, "recall": 1, "density": 40 / 5, "coverage": 1}


def test_copies_of_pictures_that_repeat_are_inside():
    """With < instead of <=, six equal pictures have balls without a radius that contain not even themselves."""
    reals = np.repeat(features(20, 1), 6, axis=0)
    copied = ours(reals, reals)
    assert copied == {"precision": 1, "recall": 1, "density": pytest.approx(6 / 5), "coverage": 1}


PEAK = """
import resource
import numpy as np
import torch
from ganealogy.evaluation.metrics import neighbours, prdc
torch.set_num_threads(1)
count = 12_000
fakes, reals = (np.random.default_rng(seed).standard_normal((count, 12), np.float32) for seed in range(2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prdc.prdc(fakes, reals, *(neighbours.squared_radii(side, prdc.K) for side in (fakes, reals)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_peak_memory_is_below_that_of_a_matrix_of_all_pairs():
    """12,000 x 12,000 distances would take 1,100 MiB, and a mask of them 140 MiB."""
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 100


@pytest.mark.parametrize("copies", [6, 7, 20])
def test_exact_copies_are_inside_their_own_balls(copies):
    """More copies than k have radius 0: `<=`, as precision's authors have it; `prdc` with its `<` counts none."""
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((10, 8)).astype(np.float32)
    both, half = np.repeat(distinct, copies, axis=0), np.repeat(distinct[:5], copies, axis=0)
    values = ours(both, both)
    assert values["precision"] == values["recall"] == values["coverage"] == 1
    values = ours(half, both)
    assert values["precision"] == 1 and values["recall"] == values["coverage"] == 0.5
