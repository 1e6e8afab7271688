"""Images are enlarged by repeating pixels."""

from __future__ import annotations

import numpy as np

from ganealogy.files.images import enlarged


def test_small_images_are_enlarged_by_whole_factors() -> None:
    images = np.arange(2 * 28 * 28 * 3, dtype=np.uint8).reshape(2, 28, 28, 3)
    large = enlarged(images, 64)
    assert large.shape == (2, 56, 56, 3)
    assert np.array_equal(large[:, ::2, ::2], images) and np.array_equal(large[:, 1::2, 1::2], images)


def test_large_images_are_unchanged() -> None:
    images = np.zeros((1, 128, 128, 1), np.uint8)
    assert np.array_equal(enlarged(images, 64), images)
