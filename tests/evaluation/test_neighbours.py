"""Nearest neighbours against scipy's, and copies that are exactly as near as they should be."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from ganealogy.evaluation import neighbours
from ganealogy.evaluation.neighbours import nearest, squared_radii


def test_equal_to_all_pairs(monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 16)
    rng = np.random.default_rng(0)
    queries, among = rng.standard_normal((50, 6)), rng.standard_normal((70, 6))
    pairs = cdist(queries, among)
    indices, distances = nearest(queries, among, 4)
    np.testing.assert_array_equal(indices, np.argsort(pairs, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(pairs, axis=1)[:, :4], rtol=1e-9)
    own = np.sort(cdist(among, among), axis=1)[:, 3]
    np.testing.assert_allclose(squared_radii(among, 3), own**2, rtol=1e-9)


def test_a_copy_is_at_zero_also_far_from_the_origin():
    rows = (np.random.default_rng(0).standard_normal((300, 64)) + 1000).astype(np.float32)
    indices, distances = nearest(rows[:20], rows, 2)
    np.testing.assert_array_equal(indices[:, 0], np.arange(20))
    assert (distances[:, 0] == 0).all() and (distances[:, 1] > 1).all()
