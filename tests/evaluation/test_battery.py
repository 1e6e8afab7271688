"""The degraded sets: each does what its name says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ganealogy.evaluation import battery

Pictures = NDArray[np.uint8]


def pictures(count: int = 60, side: int = 16, channels: int = 3, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


@pytest.mark.parametrize(("side", "channels"), [(16, 3), (28, 1), (32, 3)])
def test_every_set_has_the_number_and_shape_of_the_fakes_and_is_the_same_again(side: int, channels: int) -> None:
    reals, held_out = pictures(90, side, channels), pictures(40, side, channels, seed=1)
    sets = [[*battery.anchors(reals, held_out, 40), *battery.battery(reals, held_out, 40)] for _ in range(2)]
    for first, second in zip(*sets, strict=True):
        assert first.pictures.shape == (40, side, side, channels) and first.pictures.dtype == np.uint8, first.name
        np.testing.assert_array_equal(first.pictures, second.pictures)
    names = {member.name for member in sets[0]}
    assert set(battery.MUST_FAIL) - names == (set() if channels == 3 else {"grey", "bgr"})
    assert len(names) == len(sets[0])


def test_fewer_held_out_pictures_than_fakes_make_smaller_sets() -> None:
    sizes = {member.name: len(member.pictures) for member in battery.anchors(pictures(), pictures(20), 50)}
    assert sizes == {"floor": 20, "gaussian": 50, "rep100": 50, "rep50": 50, "rep25": 50, "mean_image": 50}


def test_shuffling_keeps_each_cells_pixels() -> None:
    before = pictures()
    after = battery.shuffled(before, 4, np.random.default_rng(0))
    assert (after != before).any()
    cells = [x.reshape(60, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 3) for x in (before, after)]
    for a, b in zip(*cells, strict=True):
        assert sorted(map(tuple, a)) == sorted(map(tuple, b))


def test_flat_cells_have_their_mean_and_a_rest_at_the_border_stays_inside() -> None:
    before = pictures(5, 18)
    after = battery.flat(before, 4)
    np.testing.assert_array_equal(
        after[:, :4, :4], before[:, :4, :4].mean(axis=(1, 2), keepdims=True).round() + np.zeros((5, 4, 4, 3))
    )
    assert np.unique(after[0, 16:, 16:].reshape(-1, 3), axis=0).shape == (1, 3)


def test_the_gaussian_has_the_pictures_mean_and_covariance() -> None:
    rng = np.random.default_rng(0)
    rows = 128 + 20 * rng.standard_normal((2000, 12)) @ rng.standard_normal((12, 12)) / 3
    reals = rows.round().clip(0, 255).astype(np.uint8).reshape(-1, 2, 2, 3)
    draws = battery.gaussian(reals, 20_000).reshape(-1, 12).astype(float)
    flat = reals.reshape(-1, 12).astype(float)
    np.testing.assert_allclose(draws.mean(axis=0), flat.mean(axis=0), atol=0.7)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(flat.T), atol=25)


def test_a_jigsaw_moves_whole_tiles() -> None:
    before = pictures(3)
    after = battery.jigsaw(before, np.random.default_rng(0))
    tiles = [
        {x[0, r : r + 4, c : c + 4].tobytes() for r in range(0, 16, 4) for c in range(0, 16, 4)}
        for x in (before, after)
    ]
    assert tiles[0] == tiles[1] and (after != before).any()


def test_a_chimera_has_quarters_of_four_pictures() -> None:
    levels = np.arange(8, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 16, 16, 3), np.uint8)
    assert {int(level) for level in np.unique(battery.chimera(levels)[7])} == {4, 5, 6, 7}


def test_half_and_a_fifth() -> None:
    base = pictures()
    half = battery.half_one(base)
    assert (half[:30] == base[0]).all() and (half[30:] == base[30:]).all()
    noisy = battery.fifth_noise(base, np.random.default_rng(1))
    assert (noisy != base).any(axis=(1, 2, 3)).sum() == 12


def test_the_central_pictures_are_the_nearest_to_the_mean() -> None:
    base = pictures()
    distance = ((base - base.mean(axis=0)) ** 2).sum(axis=(1, 2, 3))
    chosen = battery.central(base, 20)
    assert {x.tobytes() for x in chosen} == {base[i].tobytes() for i in np.argsort(distance)[:20]}
