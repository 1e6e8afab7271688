"""The `reference` stage: the reals' features, and the anchors that stand beside every number.

The anchors say what a number means on this dataset: the floor (held-out reals), and what a mean image repeated, a
blurred and a noisy copy of the reals would score. They are measured at the fakes' own N, since a Fréchet distance
falls with N.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.data import packed
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import Extractor, FeatureSet, extract, load_extractor, prepare_extractor
from ganealogy.evaluation.measure import Comparison, measure
from ganealogy.evaluation.metrics import kid, prdc
from ganealogy.files import atomic
from ganealogy.files.images import grid, save_png
from ganealogy.files.integrity import NUMPY_DAMAGE, verify

BLUR_SIGMA = 1 / 32
"""Of the blurred copy, as a share of the image's side: 2 pixels at 64."""
NOISE_STD = 0.1
"""Of the noisy copy: Gaussian, as a share of the range of values, clipped to it."""
NOISE_SEED = 0
FEWEST = 4
"""Held-out images without which there are no anchors: KID needs two disjoint pairs."""
SHEET = 64
SEARCHED = 20_000
"""Pictures at most among which samples look for their nearest where features are free; with a network, the reals."""
RADII, SUMS, SETUP = f"squared_radii_{prdc.K}", "kernel_sums", "kernel_setup"
"""Names of what every run's metrics need of the reals alone, and would else compute anew; see `_of_reals_alone`."""
CURE = "run `dvc repro reference`"

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Reals:
    """What samples are compared with, by one extractor."""

    reals: FeatureSet
    train: FeatureSet
    """The training pictures searched for neighbours, row i of train.npy; its beginning, or all of it, are the `reals`.
    """
    holdout: FeatureSet


def measure_reference(
    settings: dict[str, Any],
    sample_count: int,
    packed_directory: Path,
    out: Path,
    *,
    device: str = "cpu",
    kept: Path | None = None,
) -> None:
    """Write `<extractor>.npz` (train, holdout: features; RADII, SUMS, SETUP), anchors.json and real.png into `out`.

    `settings` is the evaluate section of the parameters, `sample_count` the number of fakes that will be measured;
    where fewer are held out, the anchors take those, and `count` in anchors.json says so. `kept`: see `extract`.

    Raises: GanealogyError for unknown extractors, absent weights, or too small a holdout.
    """
    train = packed.open_split(packed_directory, "train")
    reals = train[packed.reference_slice(len(train), settings["reals"])]
    whole_holdout = packed.open_split(packed_directory, "holdout")
    held_out = whole_holdout[:sample_count]
    if min(len(held_out), len(reals)) < FEWEST:
        raise GanealogyError(
            f"{packed_directory}: {len(reals)} training and {len(held_out)} held-out images are too few to measure "
            f"anything against: raise dataset.count or dataset.holdout"
        )
    save_png(grid(reals[:SHEET], columns=8), out / "real.png")
    degraded = {"blur": blurred(held_out), "noise": noisy(held_out)}
    count = len(held_out)
    table: dict[str, dict[str, float]] = {}
    missing: dict[str, dict[str, str]] = {}
    sums: dict[str, str] = {}
    protocols: dict[str, Any] = {}
    dimensions: dict[str, int] = {}
    for name in settings["extractors"]:
        prepare_extractor(name, device, packed_directory, out)
        extractor = load_extractor(name, device, out)
        searched, spared = reals, held_out
        if not extractor.network:
            searched, spared = train[: max(SEARCHED, len(reals))], whole_holdout[: max(SEARCHED, count)]
        train_features = extract(extractor, searched, "reals", kept, device)
        holdout_features = extract(extractor, spared, "held-out reals", kept, device)
        real_features = FeatureSet(train_features.values[: len(reals)], device)
        derived = _of_reals_alone(extractor, real_features, sample_count)
        _save(out / f"{name}.npz", train=train_features.values, holdout=holdout_features.values, **derived)
        sums[name] = atomic.sha256(out / f"{name}.npz")
        dimensions[name] = real_features.values.shape[1]
        sets = {
            "floor": FeatureSet(holdout_features.values[:count], device),
            "mean_image": FeatureSet(np.repeat(extractor.features(mean_image(reals)), count, axis=0), device),
        }
        for anchor, images in degraded.items():
            sets[anchor] = extract(extractor, images, f"{anchor} anchor", kept, device)
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
    """The real pictures' features by this extractor; `shape` is the fakes' (H, W, C).

    `device`: where the metrics will be computed from them.

    Raises: GanealogyError when they are absent, damaged, or were measured in another way or at another size.
    """
    path = directory / f"{extractor.name}.npz"
    try:
        facts = json.loads((directory / "anchors.json").read_text(encoding="utf-8"))
        verify(path, facts["sha256"][extractor.name], CURE)
        with open(path, "rb") as file:  # np.load would leave it open when the archive is cut off
            arrays = np.load(file, allow_pickle=False)
            train, holdout = arrays["train"], arrays["holdout"]
            derived = {name: arrays[name] for name in (RADII, SUMS, SETUP)}
        made_of, count = facts["shape"], facts["reals"]
        ways = [way for way in facts["protocol"].values() if way["extractor"] == extractor.name]
        fits = ways and all(way.get(key) == value for way in ways for key, value in extractor.protocol.items())
        for features in (train, holdout):
            if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != train.shape[1]:
                raise ValueError(f"features {features.dtype} {features.shape}")
        reals = _with_derived(train[:count], device, derived)
    except NUMPY_DAMAGE as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {CURE}") from None
    if made_of != list(shape):
        raise GanealogyError(f"{directory}: made of images {made_of}, the fakes are {list(shape)}; {CURE}")
    if not fits:
        raise GanealogyError(f"{path}: measured with other weights or another resize than now; {CURE}")
    searched = reals if len(reals) == len(train) else FeatureSet(train, device)
    return Reals(reals, searched, FeatureSet(holdout, device))


def mean_image(images: Images) -> Images:
    """(N, H, W, C) → (1, H, W, C): what a generator shows that has learnt the mean and nothing else."""
    mean: Images = images.mean(axis=0, dtype=np.float64, keepdims=True).round().astype(np.uint8)
    return mean


def blurred(images: Images) -> Images:
    from scipy.ndimage import gaussian_filter  # here, as evaluations read the reference and blur nothing

    sigma = BLUR_SIGMA * max(images.shape[1:3])
    blur: Images = np.stack([gaussian_filter(image, (sigma, sigma, 0), output=np.float32) for image in images])
    return blur.round().astype(np.uint8)


def noisy(images: Images) -> Images:
    rng = np.random.default_rng(NOISE_SEED)
    noise = rng.standard_normal(images.shape, np.float32) * np.float32(NOISE_STD * 255)
    noisy: Images = (images + noise).round().clip(0, 255).astype(np.uint8)
    return noisy


def _of_reals_alone(extractor: Extractor, reals: FeatureSet, fakes: int) -> dict[str, NDArray[Any]]:
    """Squared radii (N,), KID's kernel sums (subsets,) against so many fakes, and the setup (5,) that these are for.

    Empty where there are too few images, or the extractor has no KID.
    """
    of = [kid.setup(fakes, len(reals))] if extractor.network and fakes >= FEWEST else []
    return {
        RADII: reals.squared_radii if len(reals) > prdc.K else np.empty(0),
        SUMS: np.concatenate([np.empty(0), *map(reals.kernel_sums_as_reals, of)]),
        SETUP: np.array(of, np.int64).ravel(),
    }


def _with_derived(values: NDArray[np.float32], device: str, derived: dict[str, NDArray[Any]]) -> FeatureSet:
    """Raises: ValueError, TypeError or IndexError when `_of_reals_alone` cannot have written that of these features."""
    reals = FeatureSet(values, device)
    radii, sums, setup = derived[RADII], derived[SUMS], derived[SETUP]
    of = [kid.Setup(*setup.tolist())] if setup.size else []
    expected = (len(reals) if len(reals) > prdc.K else 0,), (of[0].subsets if of else 0,)
    if (radii.shape, sums.shape) != expected or {radii.dtype, sums.dtype} != {np.dtype(np.float64)}:
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in derived.items())
        raise ValueError(f"{found} do not fit {len(reals)} reals")
    if radii.size:
        reals.squared_radii = radii  # stands in for the cached property
    reals.kernel_sums = dict.fromkeys(of, sums)
    return reals


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    with atomic.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)
