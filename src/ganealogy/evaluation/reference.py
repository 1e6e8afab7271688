"""The `reference` stage: the reals' features, and the anchors that stand beside every number.

The anchors say what a number means on this dataset: the floor (held-out reals), and what a mean image repeated, a
blurred and a noisy copy of the reals would score. They are measured at the fakes' own N, since a Fréchet distance
falls with N.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ganealogy import atomic
from ganealogy.data import packed
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import Extractor, FeatureSet, extract, load_extractor
from ganealogy.evaluation.metrics import measure, protocol
from ganealogy.images import grid, save_png

BLUR_SIGMA = 1 / 32
"""Of the blurred copy, as a share of the image's side: 2 pixels at 64."""
NOISE_STD = 0.1
"""Of the noisy copy: Gaussian, as a share of the range of values, clipped to it."""
NOISE_SEED = 0
FEWEST = 4
"""Held-out images without which there are no anchors: KID needs two disjoint pairs."""
SHEET = 64
CURE = "run `dvc repro reference`"

Images = NDArray[np.uint8]


def measure_reference(
    settings: dict[str, Any], sample_count: int, packed_directory: Path, out: Path, *, device: str = "cpu"
) -> None:
    """Write `<extractor>.npz` (train, holdout: features), anchors.json and real.png into `out`.

    `settings` is the evaluate section of the parameters, `sample_count` the number of fakes that will be measured;
    where fewer are held out, the anchors take those, and `count` in anchors.json says so.

    Raises: GanealogyError for unknown extractors, absent weights, or too small a holdout.
    """
    train = packed.open_split(packed_directory, "train")
    reals = train[packed.reference_slice(len(train), settings["reals"])]
    held_out = packed.open_split(packed_directory, "holdout")[:sample_count]
    if min(len(held_out), len(reals)) < FEWEST:
        raise GanealogyError(
            f"{packed_directory}: {len(reals)} training and {len(held_out)} held-out images are too few to measure "
            f"anything against: raise dataset.count or dataset.holdout"
        )
    save_png(grid(reals[:SHEET], columns=8), out / "real.png")
    degraded = {"blur": blurred(held_out), "noise": noisy(held_out)}
    table: dict[str, dict[str, float]] = {}
    protocols: dict[str, Any] = {}
    for name in settings["extractors"]:
        extractor = load_extractor(name, device)
        real_features = extract(extractor, reals, "reals")
        floor_features = extract(extractor, held_out, "held-out reals")
        _save(out / f"{name}.npz", train=real_features.values, holdout=floor_features.values)
        sets = {"floor": floor_features, "mean_image": _repeated(extractor, mean_image(reals), len(held_out))}
        sets |= {anchor: extract(extractor, images, f"{anchor} anchor") for anchor, images in degraded.items()}
        for anchor, features in sets.items():
            for metric, value in measure(extractor, features, real_features).items():
                table.setdefault(metric, {})[anchor] = value
                protocols[metric] = protocol(metric, extractor, len(held_out), len(reals))
    count = len(held_out)
    atomic.write_json(
        out / "anchors.json",
        {
            "metrics": table,
            "protocol": protocols,
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


def read_reference(directory: Path, extractor: Extractor, shape: tuple[int, ...]) -> FeatureSet:
    """The training reals' features by this extractor; `shape` is the fakes' (H, W, C).

    Raises: GanealogyError when they are absent, damaged, or were measured in another way or at another size.
    """
    path = directory / f"{extractor.name}.npz"
    try:
        facts = json.loads((directory / "anchors.json").read_text(encoding="utf-8"))
        with open(path, "rb") as file:  # np.load would leave it open when the archive is cut off
            features = np.load(file, allow_pickle=False)["train"]
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile) as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {CURE}") from None
    if facts["shape"] != list(shape):
        raise GanealogyError(f"{directory}: made of images {facts['shape']}, the fakes are {list(shape)}; {CURE}")
    ways = [way for way in facts["protocol"].values() if way["extractor"] == extractor.name]
    if not ways or any(ways[0].get(key) != value for key, value in extractor.protocol.items()):
        raise GanealogyError(f"{path}: measured with other weights or another resize than now; {CURE}")
    return FeatureSet(features)


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


def _repeated(extractor: Extractor, image: Images, count: int) -> FeatureSet:
    return FeatureSet(np.repeat(extractor.features(image), count, axis=0))


def _save(path: Path, **arrays: NDArray[np.float32]) -> None:
    with atomic.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)
