"""Images are enlarged by repeating pixels."""

from __future__ import annotations

import numpy as np

from ganealogy.files.images import enlarged, grid


def test_small_images_are_enlarged_by_whole_factors() -> None:
    images = np.arange(2 * 28 * 28 * 3, dtype=np.uint8).reshape(2, 28, 28, 3)
    large = enlarged(images, 64)
    assert large.shape == (2, 56, 56, 3)
    assert np.array_equal(large[:, ::2, ::2], images) and np.array_equal(large[:, 1::2, 1::2], images)


def test_large_images_are_unchanged() -> None:
    images = np.zeros((1, 128, 128, 1), np.uint8)
    assert np.array_equal(enlarged(images, 64), images)


def test_a_sheet_shows_every_pixel_of_small_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    sheet = np.asarray(grid(images, 3))
    assert sheet.shape == (2 * 66 + 2, 3 * 66 + 2, 3)
    for index, image in enumerate(images):
        top, left = 2 + index // 3 * 66, 2 + index % 3 * 66
        tile = sheet[top : top + 64, left : left + 64]
        assert all(np.array_equal(tile[row::4, column::4], image) for row in range(4) for column in range(4))
