"""Nearest neighbours against scipy's, and exact distances of copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from ganealogy.evaluation.metrics import neighbours
from ganealogy.evaluation.metrics.neighbours import nearest, squared_distances, squared_radii

SIDES = pytest.mark.parametrize("side", [16, 32, 1024])
"""Sides of a tile: many tiles per set, the last narrower than k; few tiles; one tile."""


@SIDES
def test_equals_scipy_over_all_pairs(side, monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", side)
    rng = np.random.default_rng(0)
    queries, points = rng.standard_normal((50, 6)), rng.standard_normal((70, 6))
    pairs = cdist(queries, points)
    indices, distances = nearest(queries, points, 4)
    np.testing.assert_array_equal(indices, np.argsort(pairs, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(pairs, axis=1)[:, :4], rtol=1e-12)
    within = np.sort(cdist(points, points), axis=1)
    for k in (1, 4, 69):
        np.testing.assert_allclose(squared_radii(points, k), within[:, k] ** 2, rtol=1e-12)


@SIDES
def test_copies_are_found_and_none_twice(side, monkeypatch):
    """Each picture occurs four times, one five times, spread over the set, so that k ends among copies.

    The last tile of 16 columns has one picture.
    """
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", side)
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((24, 70)).astype(np.float32)
    points = np.concatenate([pictures] * 4 + [pictures[:1]])
    for queries in (pictures, rng.standard_normal((200, 70)).astype(np.float32)):
        pairs = cdist(queries.astype(np.float64), points.astype(np.float64))
        indices, _ = nearest(queries, points, 6)
        found = np.take_along_axis(pairs, indices, axis=1)
        np.testing.assert_allclose(found, np.sort(pairs, axis=1)[:, :6], rtol=1e-12)
        assert (np.diff(np.sort(indices, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("k", [1, 4, 30])
def test_equal_distances_come_in_index_order(k):
    tile = torch.tensor(np.random.default_rng(0).integers(0, 4, (40, 30)), dtype=torch.float64)
    values, columns = neighbours._k_smallest_stable(tile.clone(), k)
    order = tile.numpy().argsort(axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(columns, order)
    np.testing.assert_array_equal(values, np.take_along_axis(tile.numpy(), order, axis=1))


@SIDES
def test_copies_have_distance_0_also_far_from_the_origin(side, monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", side)
    rows = (np.random.default_rng(0).standard_normal((60, 64)) + 1000).astype(np.float32)
    indices, distances = nearest(rows[:20], rows, 2)
    np.testing.assert_array_equal(indices[:, 0], np.arange(20))
    assert (distances[:, 0] == 0).all() and (distances[:, 1] > 1).all()
    twice = np.concatenate([rows, rows])
    assert (squared_radii(twice, 1) == 0).all() and (squared_radii(twice, 2) > 1).all()


def test_all_distances_in_a_constant_set_are_0():
    same = np.full((30, 5), 7, np.float32)
    indices, distances = nearest(same[:4], same, 3)
    np.testing.assert_array_equal(indices, [[0, 1, 2]] * 4)
    assert not distances.any() and not squared_radii(same, 5).any()


@pytest.mark.parametrize("half", [False, True])
def test_every_pair_is_yielded_once(half, monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", 16)
    points = np.random.default_rng(0).standard_normal((50, 6))
    squares = np.full((50, 50), np.nan)
    for rows, columns, tile in squared_distances(points, points, half=half):
        assert np.isnan(squares[rows, columns]).all()
        squares[rows, columns] = tile.numpy()
    if half:
        assert np.isnan(squares[16:, :16]).all()
        squares = np.where(np.isnan(squares), squares.T, squares)
    np.testing.assert_allclose(squares, cdist(points, points, "sqeuclidean"), rtol=1e-12, atol=1e-12)


def test_does_not_modify_the_features():
    """torch shares the memory of float64 arrays, and arrays mapped from a file are read-only."""
    points = np.random.default_rng(0).standard_normal((50, 6)) + 3
    before = points.copy()
    points.flags.writeable = False
    nearest(points[:10], points, 3)
    squared_radii(points, 3)
    np.testing.assert_array_equal(points, before)


def test_the_callback_gets_every_tile(monkeypatch):
    monkeypatch.setitem(neighbours.TILE_SIDES, "cpu", 16)
    rng = np.random.default_rng(0)
    queries, points = rng.standard_normal((20, 6)), rng.standard_normal((40, 6))
    seen = np.zeros((20, 40))

    def on_tile(rows, columns, tile):
        seen[rows, columns] = tile.numpy()

    with_callback = nearest(queries, points, 4, on_tile=on_tile)
    np.testing.assert_allclose(seen, cdist(queries, points, "sqeuclidean"), rtol=1e-12)
    for got, expected in zip(with_callback, nearest(queries, points, 4), strict=True):
        np.testing.assert_array_equal(got, expected)
