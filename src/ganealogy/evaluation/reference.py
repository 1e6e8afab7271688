"""The `reference` stage: compute the reals' features and the anchors of every metric.

Anchors show the scale of a metric on this data set: the scores of held-out reals (the floor), of the mean image
repeated, and of blurred and noisy reals. They are measured with as many images as the fakes, because a Fréchet distance
depends on the number of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.data import packed
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import FeatureSet, extract, load_extractor, prepare_extractor
from ganealogy.evaluation.measure import Comparison, measure
from ganealogy.evaluation.metrics import kid, prdc
from ganealogy.files import atomic
from ganealogy.files.images import Pictures, grid, save_png
from ganealogy.files.integrity import NUMPY_DAMAGE, verify
from ganealogy.files.records import read_record
from ganealogy.record_types import AnchorsJson, EvaluateSettings, MetricProtocol

BLUR_SIGMA = 1 / 32
"""Of the blur anchor, as a fraction of the image's side: 2 pixels at 64."""
NOISE_STD = 0.1
"""Of the noise anchor: Gaussian, as a fraction of the range of values."""
NOISE_SEED = 0
MIN_IMAGES = 4
"""Required per side: KID needs two disjoint pairs."""
SHEET = 64
MAX_SEARCHED = 20_000
"""Training pictures to search for neighbours with pixel features; with a network, only the reals are searched."""
RADII, SUMS, SETUP = f"squared_radii_{prdc.K}", "kernel_sums", "kernel_setup"
"""Names in the .npz of values that depend on the reals alone: computed here once instead of in every run."""
HINT = "run `dvc repro reference`"


@dataclass(frozen=True)
class Reals:
    """Features of real pictures, by one extractor, to compare samples with."""

    reals: FeatureSet
    train: FeatureSet
    """Training pictures to search for neighbours; row i is row i of train.npy. The first rows, or all, are `reals`."""
    holdout: FeatureSet


def measure_reference(
    settings: EvaluateSettings,
    sample_count: int,
    packed_directory: Path,
    out: Path,
    *,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> None:
    """Write `<extractor>.npz` (train, holdout: features; RADII, SUMS, SETUP), anchors.json and real.png into `out`.

    `settings`: the evaluate section of params.yaml. `sample_count`: fakes per run. Anchors use as many held-out images,
    or all of them if there are fewer; `count` in anchors.json is the number used. `cache_dir`: see `extract`.

    Raises: GanealogyError for unknown extractors, absent weights, or too few images.
    """
    train = packed.open_split(packed_directory, "train")
    reals = train[packed.reference_slice(len(train), settings["reals"])]
    holdout = packed.open_split(packed_directory, "holdout")
    held_out = holdout[:sample_count]
    if min(len(held_out), len(reals)) < MIN_IMAGES:
        raise GanealogyError(
            f"{packed_directory}: {len(reals)} training and {len(held_out)} held-out images are too few: at least "
            f"{MIN_IMAGES} of each are needed; raise dataset.count or dataset.holdout in params.yaml"
        )
    save_png(grid(reals[:SHEET], columns=8), out / "real.png")
    degraded = {"blur": blurred(held_out), "noise": noisy(held_out)}
    count = len(held_out)
    table: dict[str, dict[str, float]] = {}
    missing: dict[str, dict[str, str]] = {}
    sums: dict[str, str] = {}
    protocols: dict[str, MetricProtocol] = {}
    dimensions: dict[str, int] = {}
    for name in settings["extractors"]:
        prepare_extractor(name, device, packed_directory, out)
        extractor = load_extractor(name, device, out)
        train_images, holdout_images = reals, held_out
        if not extractor.network:
            train_images, holdout_images = train[: max(MAX_SEARCHED, len(reals))], holdout[: max(MAX_SEARCHED, count)]
        train_features = extract(extractor, train_images, "reals", cache_dir, device)
        holdout_features = extract(extractor, holdout_images, "held-out reals", cache_dir, device)
        real_features = FeatureSet(train_features.values[: len(reals)], device)
        derived = _derive(extractor, real_features, sample_count)
        _save(out / f"{name}.npz", train=train_features.values, holdout=holdout_features.values, **derived)
        sums[name] = atomic.sha256(out / f"{name}.npz")
        dimensions[name] = real_features.values.shape[1]
        sets = {
            "floor": FeatureSet(holdout_features.values[:count], device),
            "mean_image": FeatureSet(np.repeat(extractor.features(mean_image(reals)), count, axis=0), device),
        }
        for anchor, images in degraded.items():
            sets[anchor] = extract(extractor, images, f"{anchor} anchor", cache_dir, device)
        for anchor, features in sets.items():
            measured = measure(Comparison(extractor, features, real_features), anchor=True)
            for metric, value in measured.metrics.items():
                table.setdefault(metric, {})[anchor] = value
            for metric, reason in measured.not_measured.items():
                missing.setdefault(metric, {})[anchor] = reason
            protocols |= measured.protocol
    atomic.write_json(
        out / "anchors.json",
        {
            "metrics": table,
            "not_measured": missing,
            "protocol": protocols,
            "dimensions": dimensions,
            "sha256": sums,
            "count": count,
            "reals": len(reals),
            "shape": list(reals.shape[1:]),
            "described": {
                "floor": f"{count} held-out reals",
                "mean_image": f"the mean image, {count} times",
                "blur": f"{count} held-out reals, Gaussian blur, sigma {BLUR_SIGMA:.1%} of the side",
                "noise": f"{count} held-out reals, Gaussian noise, std {NOISE_STD:.0%} of the range",
            },
        },
    )


def read_reference(directory: Path, extractor: Extractor, shape: tuple[int, ...], device: str = "cpu") -> Reals:
    """Read the real pictures' features by this extractor. `shape`: the fakes' (H, W, C).

    `device`: where metrics will be computed.

    Raises: GanealogyError when the files are absent or damaged, or of another protocol or image size.
    """
    path = directory / f"{extractor.name}.npz"
    try:
        anchors: AnchorsJson = read_record(directory / "anchors.json", HINT)
        verify(path, anchors["sha256"][extractor.name], HINT)
        with open(path, "rb") as file:  # np.load(path) would leave it open if the archive is truncated
            arrays = np.load(file, allow_pickle=False)
            train, holdout = arrays["train"], arrays["holdout"]
            derived = {name: arrays[name] for name in (RADII, SUMS, SETUP)}
        image_shape, count = anchors["shape"], anchors["reals"]
        protocols = [entry for entry in anchors["protocol"].values() if entry["extractor"] == extractor.name]
        fits = protocols and all(
            entry.get(key) == value for entry in protocols for key, value in extractor.protocol.items()
        )
        for features in (train, holdout):
            if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != train.shape[1]:
                raise ValueError(f"features {features.dtype} {features.shape}")
        reals = _with_derived(train[:count], device, derived)
    except NUMPY_DAMAGE as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {HINT}") from None
    if image_shape != list(shape):
        raise GanealogyError(f"{directory}: computed from images {image_shape}, the fakes are {list(shape)}; {HINT}")
    if not fits:
        raise GanealogyError(f"{path}: measured with other weights or another resize than {extractor.name}'s; {HINT}")
    searched = reals if len(reals) == len(train) else FeatureSet(train, device)
    return Reals(reals, searched, FeatureSet(holdout, device))


def mean_image(images: Pictures) -> Pictures:
    """(N, H, W, C) → (1, H, W, C): the output of a generator that has learnt the mean only."""
    return images.mean(axis=0, dtype=np.float64, keepdims=True).round().astype(np.uint8)


def blurred(images: Pictures) -> Pictures:
    """(N, H, W, C) → (N, H, W, C), with Gaussian blur."""
    from scipy.ndimage import gaussian_filter  # imported here: `evaluate` imports this module and blurs nothing

    sigma = BLUR_SIGMA * max(images.shape[1:3])
    blur: Pictures = np.stack([gaussian_filter(image, (sigma, sigma, 0), output=np.float32) for image in images])
    return blur.round().astype(np.uint8)


def noisy(images: Pictures) -> Pictures:
    """(N, H, W, C) → (N, H, W, C), with Gaussian noise, clipped to 0..255."""
    rng = np.random.default_rng(NOISE_SEED)
    noise = rng.standard_normal(images.shape, np.float32) * np.float32(NOISE_STD * 255)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def _derive(extractor: Extractor, reals: FeatureSet, fakes: int) -> dict[str, NDArray[Any]]:
    """Return squared radii (N,), KID's kernel sums (subsets,) against that many fakes, and KID's setup (5,).

    Arrays are empty for too few images, and the last two for extractors without KID.
    """
    setups = [kid.setup(fakes, len(reals))] if extractor.network and fakes >= MIN_IMAGES else []
    return {
        RADII: reals.squared_radii if len(reals) > prdc.K else np.empty(0),
        SUMS: np.concatenate([np.empty(0), *map(reals.kernel_sums_as_reals, setups)]),
        SETUP: np.array(setups, np.int64).ravel(),
    }


def _with_derived(values: NDArray[np.float32], device: str, derived: dict[str, NDArray[Any]]) -> FeatureSet:
    """Return the reals' features with the values of `_derive` filled in.

    Raises: ValueError, TypeError or IndexError when they do not fit the features.
    """
    reals = FeatureSet(values, device)
    radii, sums, setup = derived[RADII], derived[SUMS], derived[SETUP]
    setups = [kid.Setup(*setup.tolist())] if setup.size else []
    expected = (len(reals) if len(reals) > prdc.K else 0,), (setups[0].subsets if setups else 0,)
    if (radii.shape, sums.shape) != expected or {radii.dtype, sums.dtype} != {np.dtype(np.float64)}:
        shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in derived.items())
        raise ValueError(f"{shapes} do not fit {len(reals)} reals")
    if radii.size:
        reals.squared_radii = radii  # fills the cached property
    reals.kernel_sums = dict.fromkeys(setups, sums)
    return reals


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    with atomic.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)
