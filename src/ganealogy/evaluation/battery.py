"""Sets of pictures whose place is known, to show the scale of a metric and what fools it.

`anchors` are measured by every metric and printed beside its numbers. `battery` are degraded sets, for the metrics that
may lead: those of `MUST_FAIL` look worse to a person than a version that trained well, so a metric that puts one ahead
of it is fooled by it.

n pictures uint8 (n, H, W, C). Every set is the same for the same data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pictures: TypeAlias = "NDArray[np.uint8]"
SEED = 0
CELLS = 8
"""Cells per side of shuffled, flat and gauss8."""
TILES = 4
"""Tiles per side of the jigsaw."""
REPEATED = (25, 50, 100)
MUST_FAIL = (
    "shuffled", "flat", "gauss8", "checker60", "noise50", "blur2", "mean_image", "rep25", "rep50", "jigsaw", "chimera",
    "half_one", "fifth_noise", "grey", "bgr",
)  # fmt: skip


class Member(NamedTuple):
    name: str
    described: str
    pictures: Pictures


def anchors(reals: Pictures, held_out: Pictures, count: int) -> Iterator[Member]:
    """Yield the anchors: `count` pictures each, or all the held-out ones if there are fewer.

    `reals`: the training pictures that fakes are compared with.
    """
    held_out = held_out[:count]
    yield Member("floor", f"{len(held_out)} held-out reals", held_out)
    yield Member("gaussian", f"{count} draws of a Gaussian fitted to all pixels", gaussian(reals, count))
    for pictures in sorted(REPEATED, reverse=True):
        described = f"{pictures} training pictures, repeated to {count}"
        yield Member(f"rep{pictures}", described, repeated(reals[:pictures], count))
    yield Member("mean_image", f"the mean image, {count} times", repeated(mean_image(reals), count))


def battery(reals: Pictures, held_out: Pictures, count: int) -> Iterator[Member]:
    """Yield the degraded sets, made of held-out pictures unless stated otherwise; see `anchors`."""
    rng = np.random.default_rng(SEED)
    base = np.array(held_out[:count])
    size = max(2, base.shape[1] // CELLS)
    copies = reals[np.sort(rng.choice(len(reals), min(count, len(reals)), replace=False))]
    yield Member("copies", "training pictures", copies)
    yield Member("central", "the training pictures nearest the mean", central(reals, min(count, len(reals) // 2)))
    yield Member("shuffled", f"pixels shuffled in cells of {size}×{size}", shuffled(base, size, rng))
    yield Member("flat", f"cells of {size}×{size} of one colour", flat(base, size))
    yield Member("gauss8", "a Gaussian fitted to 8×8 cells, painted as flat cells", flat_gaussian(reals, count, size))
    for levels in (20, 60):
        yield Member(f"checker{levels}", f"a checkerboard of ±{levels} levels", add(base, checkerboard(base, levels)))
    for levels in (25, 50):
        noise = rng.standard_normal(base.shape, np.float32) * levels
        yield Member(f"noise{levels}", f"noise, sd {levels} levels", add(base, noise))
    for sigma in (1, 2):
        yield Member(f"blur{sigma}", f"Gaussian blur, sigma {sigma} pixels", blurred(base, sigma))
    yield Member("jigsaw", f"{TILES}×{TILES} tiles permuted", jigsaw(base, rng))
    yield Member("chimera", "quarters of four pictures", chimera(base))
    yield Member("half_one", "half of them one picture", half_one(base))
    yield Member("fifth_noise", "a fifth of them noise", fifth_noise(base, rng))
    if base.shape[3] == 3:
        grey = base.mean(axis=3, keepdims=True).round().astype(np.uint8)
        yield Member("grey", "without colour", np.repeat(grey, 3, axis=3))
        yield Member("bgr", "red and blue exchanged", np.ascontiguousarray(base[..., ::-1]))


def mean_image(pictures: Pictures) -> Pictures:
    """Return (1, H, W, C): the output of a generator that has learnt the mean only."""
    return pictures.mean(axis=0, dtype=np.float64, keepdims=True).round().astype(np.uint8)


def repeated(pictures: Pictures, count: int) -> Pictures:
    """Return `count` pictures: these, over and over."""
    return np.asarray(pictures[np.arange(count) % len(pictures)])


def gaussian(pictures: Pictures, count: int) -> Pictures:
    """Return draws of a Gaussian with the pictures' mean and covariance over all pixels."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    mean = rows.mean(axis=0)
    weights = np.random.default_rng(SEED).standard_normal((count, len(rows)), np.float32)
    draws = mean + weights @ (rows - mean) / np.float32(max(1, len(rows) - 1) ** 0.5)
    return _levels(draws.reshape(count, *pictures.shape[1:]))


def flat_gaussian(pictures: Pictures, count: int, size: int) -> Pictures:
    """Return draws of a Gaussian fitted to the means of the cells, each painted as a flat cell."""
    side = pictures.shape[1] // size
    cropped = pictures[:, : side * size, : side * size]
    means = cropped.reshape(len(pictures), side, size, side, size, -1).mean(axis=(2, 4)).round().astype(np.uint8)
    painted = gaussian(means, count).repeat(size, axis=1).repeat(size, axis=2)
    missing = pictures.shape[1] - side * size
    return np.pad(painted, ((0, 0), (0, missing), (0, missing), (0, 0)), mode="edge")


def central(pictures: Pictures, count: int) -> Pictures:
    """Return the `count` pictures with the least squared distance to the mean, in their order."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    distances = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1)
    return np.asarray(pictures[np.sort(np.argsort(distances, kind="stable")[:count])])


def shuffled(pictures: Pictures, size: int, rng: np.random.Generator) -> Pictures:
    """Return the pictures with the pixels of each cell in another order, of its own for each cell and picture."""
    result = pictures.copy()
    n, height, width, channels = pictures.shape
    for top in range(0, height - size + 1, size):
        for left in range(0, width - size + 1, size):
            cell = result[:, top : top + size, left : left + size].reshape(n, size * size, channels)
            order = rng.random((n, size * size)).argsort(axis=1)
            mixed = np.take_along_axis(cell, order[..., None], axis=1)
            result[:, top : top + size, left : left + size] = mixed.reshape(n, size, size, channels)
    return result


def flat(pictures: Pictures, size: int) -> Pictures:
    """Return the pictures with each cell in its mean colour."""
    result = pictures.copy()
    for top in range(0, pictures.shape[1], size):
        for left in range(0, pictures.shape[2], size):
            cell = result[:, top : top + size, left : left + size]
            cell[:] = cell.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    return result


def checkerboard(pictures: Pictures, levels: float) -> NDArray[np.float32]:
    """Return (H, W, 1): ± levels in turns, from pixel to pixel."""
    rows, columns = np.indices(pictures.shape[1:3])
    return np.where((rows + columns) % 2, -levels, levels)[..., None].astype(np.float32)


def add(pictures: Pictures, change: NDArray[np.float32]) -> Pictures:
    """Return the pictures plus a change in levels, clipped to 0..255."""
    return _levels(pictures + change)


def blurred(pictures: Pictures, sigma: float) -> Pictures:
    """Return the pictures with Gaussian blur, sigma in pixels."""
    from scipy.ndimage import gaussian_filter  # imported here: `evaluate` blurs nothing

    return _levels(np.stack([gaussian_filter(image, (sigma, sigma, 0), output=np.float32) for image in pictures]))


def jigsaw(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Return the pictures with their tiles permuted, each picture in its own way; a rest at the border stays."""
    size = pictures.shape[1] // TILES
    cells = [
        (slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size)) for r in range(TILES) for c in range(TILES)
    ]
    result = pictures.copy()
    for picture, source in zip(result, pictures, strict=True):
        for target, origin in enumerate(rng.permutation(len(cells))):
            picture[cells[target]] = source[cells[origin]]
    return result


def chimera(pictures: Pictures) -> Pictures:
    """Return pictures whose quarters are those of four neighbours in the set."""
    result = pictures.copy()
    middle = pictures.shape[1] // 2
    quarters = [
        (slice(None), rows, columns)
        for rows in (slice(0, middle), slice(middle, None))
        for columns in (slice(0, middle), slice(middle, None))
    ]
    for shift, quarter in enumerate(quarters):
        result[quarter] = np.roll(pictures, shift, axis=0)[quarter]
    return result


def half_one(pictures: Pictures) -> Pictures:
    result = pictures.copy()
    result[: len(result) // 2] = result[0]
    return result


def fifth_noise(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    result = pictures.copy()
    result[::5] = rng.integers(0, 256, result[::5].shape, np.uint8)
    return result


def _levels(values: NDArray[np.float32]) -> Pictures:
    return values.round().clip(0, 255).astype(np.uint8)
