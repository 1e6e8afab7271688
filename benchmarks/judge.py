"""Measure the battery, and further sets that try to beat the judge, on any pictures.

    python benchmarks/judge.py PATH --size 32 [--channels 1] [--count 500] [--reals 2000]

PATH is a directory or a zip of pictures, or an .npy of uint8 (N, H, W, C). Values are distances to the first `reals`
pictures in the order of their hash; `count` further pictures are degraded. Anything below a trained generator's value
that looks worse than its pictures fools the metric.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganealogy.data.archives import ZipPictures, is_picture
from ganealogy.data.pictures import pack
from ganealogy.evaluation import battery
from ganealogy.evaluation.battery import Member
from ganealogy.evaluation.features import FeatureSet, load_extractor
from ganealogy.evaluation.measure import Comparison, measure

EXTRACTORS = ("layout_edges_32_64", "pictures", "pixel8")
COLUMNS = ("fd_layout_edges_32_64", "fd_layout_32", "fd_edges_64", "swd", "fd_pixel8")
Pictures = NDArray[np.uint8]


def load(path: Path, size: int, channels: int, most: int) -> Pictures:
    """Return at most `most` pictures of one size, in the order of a hash of their names."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path)[:most])
    if path.suffix == ".zip":
        archive = ZipPictures(path)
        names = [archive.name(index) for index in range(len(archive))]
        contents = {name: index for index, name in enumerate(names)}
        chosen = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:most]
        return np.stack([pack(archive.read(contents[name]), size, channels, "crop") for name in chosen])
    files = sorted(
        (file for file in path.rglob("*") if is_picture(file.name)),
        key=lambda f: hashlib.sha256(f.name.encode()).digest(),
    )
    return np.stack([pack(file.read_bytes(), size, channels, "crop") for file in files[:most]])


def attempts(reals: Pictures, held_out: Pictures) -> Iterator[Member]:
    """Yield sets that are not in the battery: each keeps some statistics of the pictures and spoils others."""
    rng = np.random.default_rng(1)
    base = held_out.astype(np.float32)
    n, side = len(base), base.shape[1]

    def levels(values: NDArray[np.floating]) -> Pictures:
        return np.asarray(values.round().clip(0, 255), np.uint8)

    yield Member("ghosts", "means of two pictures", levels((base + np.roll(base, 1, axis=0)) / 2))
    yield Member("mirrored", "left and right exchanged", held_out[:, :, ::-1])
    for pixels in (1, 2):
        yield Member(f"shift{pixels}", f"{pixels} pixels to the right", np.roll(held_out, pixels, axis=2))
    yield Member("dark20", "20 % darker", levels(base * 0.8))
    yield Member(
        "tint", "each channel times 0.8 to 1.2", levels(base * rng.uniform(0.8, 1.2, (n, 1, 1, base.shape[3])))
    )
    yield Member("posterised", "4 levels", levels((base // 64) * 64 + 32))
    stripes = base.copy()
    stripes[:, :, side // 2] = 0
    yield Member("stripe", "one black column", levels(stripes))
    phase = np.exp(1j * np.angle(np.fft.fft2(rng.standard_normal((n, side, side, 1)), axes=(1, 2))))
    mean = base.mean(axis=(1, 2), keepdims=True)
    scrambled = np.fft.ifft2((np.fft.fft2(base - mean, axes=(1, 2))) * phase, axes=(1, 2)).real + mean
    yield Member("phases", "random phases, amplitudes kept", levels(scrambled))
    rows = reals.reshape(len(reals), -1).astype(np.float32)
    centre = rows.mean(axis=0)
    _, _, components = np.linalg.svd(rows[:1000] - centre, full_matrices=False)
    for count in (32, 128):
        basis = components[:count]
        flat = (base.reshape(n, -1) - centre) @ basis.T @ basis + centre
        yield Member(f"pca{count}", f"projected on {count} principal components", levels(flat.reshape(base.shape)))
    low, high = battery.blurred(held_out, side / 8).astype(np.float32), base - battery.blurred(held_out, side / 8)
    yield Member(
        "swapped", "low frequencies of one picture, high ones of another", levels(low + np.roll(high, 1, axis=0))
    )
    tiles = held_out.copy()
    size = side // battery.TILES
    for index in range(battery.TILES**2):
        r, c = divmod(index, battery.TILES)
        cell = (slice(None), slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size))
        tiles[cell] = np.roll(held_out, index, axis=0)[cell]
    yield Member("mosaic", "each of 4×4 tiles from another picture", tiles)
    few = held_out.copy()
    few[: n // 10] = few[0]
    yield Member("tenth_one", "a tenth of them one picture", few)
    yield Member(
        "half_central", "half of them the picture nearest the mean", _half(held_out, battery.central(held_out, 1))
    )
    yield Member(
        "half_blur2",
        "half of them blurred by 2 pixels",
        np.concatenate([held_out[: n // 2], battery.blurred(held_out[n // 2 :], 2)]),
    )
    yield Member(
        "rep25_noise",
        "25 training pictures with noise of 10 levels",
        levels(battery.repeated(reals[:25], n) + rng.normal(0, 10, base.shape)),
    )
    yield Member(
        "rep25_tint",
        "25 training pictures, each channel times 0.7 to 1.3",
        levels(battery.repeated(reals[:25], n) * rng.uniform(0.7, 1.3, (n, 1, 1, base.shape[3]))),
    )


def _half(pictures: Pictures, one: Pictures) -> Pictures:
    return np.concatenate([pictures[: len(pictures) // 2], battery.repeated(one, len(pictures) - len(pictures) // 2)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--reals", type=int, default=2000)
    options = parser.parse_args()
    pictures = load(options.path, options.size, options.channels, options.reals + options.count)
    reals, held_out = pictures[: options.reals], pictures[options.reals :]
    extractors = [load_extractor(name, "cpu") for name in EXTRACTORS]
    sides = {each.name: FeatureSet(each.features(reals)) for each in extractors}
    sets = [*battery.anchors(reals, held_out, options.count), *battery.battery(reals, held_out, options.count)]
    print(f"{'':14}{'  '.join(COLUMNS)}   ({len(reals)} reals, {len(held_out)} held out)")
    for member in [*sets, *attempts(reals, held_out)]:
        values: dict[str, float] = {}
        for each in extractors:
            only = measure(
                Comparison(each, FeatureSet(each.features(member.pictures)), sides[each.name]), lambda m: m.may_lead
            )
            values |= only.metrics
        cells = "  ".join(f"{values[name]:{len(name)}.3f}" if name in values else " " * len(name) for name in COLUMNS)
        print(f"{member.name:14}{cells}  {'must fail' if member.name in battery.MUST_FAIL else ''} {member.described}")


if __name__ == "__main__":
    main()
