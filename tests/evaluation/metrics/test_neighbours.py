"""Nearest neighbours against scipy's, and copies that are exactly as near as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ganealogy.evaluation.metrics import neighbours
from ganealogy.evaluation.metrics.neighbours import nearest, squared_distances, squared_radii

SIDES = pytest.mark.parametrize("side", [16, 32, 1024])
"""Of a tile: several to a set, the last of them narrower than k; few; one for all."""


@SIDES
def test_equal_to_all_pairs(side, monkeypatch):
    monkeypatch.setitem(neighbours.SIDES, "cpu", side)
    rng = np.random.default_rng(0)
    queries, among = rng.standard_normal((50, 6)), rng.standard_normal((70, 6))
    pairs = cdist(queries, among)
    indices, distances = nearest(queries, among, 4)
    np.testing.assert_array_equal(indices, np.argsort(pairs, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(pairs, axis=1)[:, :4], rtol=1e-12)
    own = np.sort(cdist(among, among), axis=1)
    for k in (1, 4, 69):
        np.testing.assert_allclose(squared_radii(among, k), own[:, k] ** 2, rtol=1e-12)


@SIDES
def test_among_equals_the_first_comes_first(side, monkeypatch):
    """Each picture four times, one five times, far apart in the set: k ends among copies. The last tile of 16 columns
    holds one."""
    monkeypatch.setitem(neighbours.SIDES, "cpu", side)
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((24, 70)).astype(np.float32)
    among = np.concatenate([pictures] * 4 + [pictures[:1]])
    for queries in (pictures, rng.standard_normal((200, 70)).astype(np.float32)):
        pairs = cdist(queries.astype(np.float64), among.astype(np.float64))  # of copies the same to the last bit
        indices, _ = nearest(queries, among, 6)
        np.testing.assert_array_equal(indices, pairs.argsort(axis=1, kind="stable")[:, :6])


@SIDES
def test_a_copy_is_at_zero_also_far_from_the_origin(side, monkeypatch):
    monkeypatch.setitem(neighbours.SIDES, "cpu", side)
    rows = (np.random.default_rng(0).standard_normal((60, 64)) + 1000).astype(np.float32)
    indices, distances = nearest(rows[:20], rows, 2)
    np.testing.assert_array_equal(indices[:, 0], np.arange(20))
    assert (distances[:, 0] == 0).all() and (distances[:, 1] > 1).all()
    twice = np.concatenate([rows, rows])
    assert (squared_radii(twice, 1) == 0).all() and (squared_radii(twice, 2) > 1).all()


def test_a_constant_set_is_all_at_zero():
    same = np.full((30, 5), 7, np.float32)
    indices, distances = nearest(same[:4], same, 3)
    np.testing.assert_array_equal(indices, [[0, 1, 2]] * 4)
    assert not distances.any() and not squared_radii(same, 5).any()


@pytest.mark.parametrize("half", [False, True])
def test_every_pair_comes_once(half, monkeypatch):
    monkeypatch.setitem(neighbours.SIDES, "cpu", 16)
    points = np.random.default_rng(0).standard_normal((50, 6))
    found = np.full((50, 50), np.nan)
    for rows, columns, tile in squared_distances(points, points, half=half):
        assert np.isnan(found[rows, columns]).all()
        found[rows, columns] = tile.numpy()
    if half:
        assert np.isnan(found[16:, :16]).all()
        found = np.where(np.isnan(found), found.T, found)
    np.testing.assert_allclose(found, cdist(points, points, "sqeuclidean"), rtol=1e-12, atol=1e-12)


def test_the_features_stay_as_they_are():
    """float64 of a CPU is shared with torch; and an array that is mapped from a file cannot be written."""
    points = np.random.default_rng(0).standard_normal((50, 6)) + 3
    before = points.copy()
    points.flags.writeable = False
    nearest(points[:10], points, 3)
    squared_radii(points, 3)
    np.testing.assert_array_equal(points, before)


def test_who_watches_sees_what_is_searched(monkeypatch):
    monkeypatch.setitem(neighbours.SIDES, "cpu", 16)
    rng = np.random.default_rng(0)
    queries, among = rng.standard_normal((20, 6)), rng.standard_normal((40, 6))
    seen = np.zeros((20, 40))

    def watch(rows, columns, tile):
        seen[rows, columns] = tile.numpy()

    found = nearest(queries, among, 4, watch=watch)
    np.testing.assert_allclose(seen, cdist(queries, among, "sqeuclidean"), rtol=1e-12)
    for mine, alone in zip(found, nearest(queries, among, 4), strict=True):
        np.testing.assert_array_equal(mine, alone)
