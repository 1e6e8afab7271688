"""The sliced Wasserstein distance, against plain transcriptions of its parts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.stats import wasserstein_distance

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors.pictures import Pixels, unflatten
from ganealogy.evaluation.metrics import sliced_wasserstein as swd


def pictures(count: int, side: int, channels: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, side, side)).astype(np.float32)


def test_the_pyramid_is_burt_and_adelsons() -> None:
    images = pictures(3, 32, 3)
    taps = np.array([1, 4, 6, 4, 1]) / 16

    def blurred(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return convolve1d(convolve1d(x, taps, axis=2, mode="mirror"), taps, axis=3, mode="mirror")

    expected, level = [], images.astype(np.float64)
    while level.shape[-1] > 8:
        half = blurred(level)[:, :, ::2, ::2]
        up = np.zeros_like(level)
        up[:, :, ::2, ::2] = half
        expected.append(level - 4 * blurred(up))
        level = half
    actual = swd.laplacian_pyramid(images)
    assert [each.shape[-1] for each in actual] == [32, 16, 8]
    for a, b in zip(actual, [*expected, level], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_one_direction_is_the_wasserstein_distance_of_the_projections() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 400))
    assert np.abs(np.sort(a) - np.sort(b)).mean() == pytest.approx(wasserstein_distance(a, b))


def test_equal_sets_are_at_zero_and_brightness_does_not_matter() -> None:
    images = pictures(40, 16, 3)
    assert swd.sliced_wasserstein(images, images) == 0
    assert swd.sliced_wasserstein(0.5 * images + 20, images) == pytest.approx(0, abs=0.05)  # normalised per channel


def test_a_blurred_set_is_farther_than_another_draw() -> None:
    from scipy.ndimage import gaussian_filter

    reals, others = pictures(200, 16, 1), pictures(200, 16, 1, seed=1)
    blurred = gaussian_filter(others, (0, 0, 1, 1))
    assert swd.sliced_wasserstein(blurred, reals) > 1.5 * swd.sliced_wasserstein(others, reals)


def test_only_as_many_pictures_as_the_smaller_set_has_are_compared() -> None:
    a, b = pictures(30, 16, 3), pictures(50, 16, 3, seed=1)
    assert swd.sliced_wasserstein(a, b) == swd.sliced_wasserstein(a, b[:30])


def test_small_pictures_are_refused() -> None:
    with pytest.raises(GanealogyError, match="8 pixels"):
        swd.sliced_wasserstein(pictures(3, 6, 1), pictures(3, 6, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_extractor_of_pictures_keeps_the_pixels(channels: int) -> None:
    images = pictures(4, 8, channels).transpose(0, 2, 3, 1).astype(np.uint8)
    np.testing.assert_array_equal(unflatten(Pixels().features(images)), images.transpose(0, 3, 1, 2))
