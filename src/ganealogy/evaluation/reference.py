"""The `reference` stage: compute the reals' features, the anchors of every metric, and the battery of leading ones.

Anchors show the scale of a metric on this data set, and the battery what fools it (see battery.py). Both are measured
with as many images as the fakes, because a Fréchet distance depends on the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.data import packed
from ganealogy.errors import GanealogyError, Remedy
from ganealogy.evaluation import battery
from ganealogy.evaluation.battery import Member
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import FeatureSet, extract, load_extractor, prepare_extractor
from ganealogy.evaluation.measure import (
    Comparison,
    Measured,
    Metric,
    copy_ratios,
    measure,
    suits_all_metrics,
    whitened_blocks,
    yields,
)
from ganealogy.evaluation.metrics import kid, prdc
from ganealogy.evaluation.metrics.neighbours import Matrix
from ganealogy.evaluation.metrics.whitened import Whitening
from ganealogy.files import atomic
from ganealogy.files.arrays import open_npz
from ganealogy.files.images import grid, save_png
from ganealogy.files.integrity import NUMPY_DAMAGE, verify
from ganealogy.files.records import read_record
from ganealogy.record_types import AnchorsJson, EvaluateSettings, MetricProtocol

MIN_IMAGES = 4
"""Required per side: KID needs two disjoint pairs."""
SHEET = 64
MAX_HOLDOUT = 20_000
"""Held-out pictures to search for neighbours with pixel features; all training pictures are searched. With a network,
which would take minutes for all, the reals and as many held-out pictures as there are fakes are searched."""
MAX_RATIOS = 1000
"""Held-out pictures whose nearest training pictures show what is no copy."""
SPACINGS, SUMS, SETUP, RATIOS = f"squared_spacings_{prdc.K}", "kernel_sums", "kernel_setup", "copy_ratios"
WHITENED = "whitened_{}_{}"
"""Names in the .npz of values that depend on the reals alone: computed here once instead of in every run. WHITENED is
for a block and a field of `Whitening`."""
REMEDY = Remedy("reference")


@dataclass(frozen=True)
class Reals:
    """Features of real pictures, by one extractor, to compare samples with."""

    reals: FeatureSet
    train: FeatureSet
    """Training pictures to search for neighbours, all or `reals`; row i is row i of train.npy."""
    holdout: FeatureSet
    train_count: int
    """Number of training pictures, searched or not."""
    holdout_ratios: Matrix
    """`memorisation.ratios` of held-out pictures to `train`, (up to 1000,)."""


def measure_reference(
    settings: EvaluateSettings,
    sample_count: int,
    packed_directory: Path,
    out: Path,
    *,
    absent: Mapping[str, str] | None = None,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> None:
    """Write `<extractor>.npz`, anchors.json and real.png into `out`.

    The .npz holds features of the reals, of all training pictures in half precision if they are searched, and of
    held-out pictures; and what depends on these alone (SPACINGS, SUMS, SETUP, RATIOS, WHITENED).

    `settings`: the evaluate section of params.yaml. `sample_count`: fakes per run. Anchors use as many held-out images,
    or all of them if there are fewer; `count` in anchors.json is the number used.
    `absent`: extractors to leave out → why. `cache_dir`: see `extract`.

    Raises: GanealogyError for unknown extractors, absent weights, or too few images.
    """
    train = packed.open_split(packed_directory, "train")
    most = settings["reals"]
    reals = train if most is None else train[packed.reference_slice(len(train), most)]
    holdout = packed.open_split(packed_directory, "holdout")
    held_out = holdout[:sample_count]
    if min(len(held_out), len(reals)) < MIN_IMAGES:
        raise GanealogyError(
            f"{packed_directory}: {len(reals)} training and {len(held_out)} held-out images are too few: at least "
            f"{MIN_IMAGES} of each are needed; raise dataset.count or dataset.holdout in params.yaml"
        )
    save_png(grid(reals[:SHEET], columns=8), out / "real.png")
    count = len(held_out)
    anchors = list(battery.anchors(reals, held_out, sample_count))
    degraded = list(battery.battery(reals, held_out, sample_count))
    table: dict[str, dict[str, float]] = {}
    fooling: dict[str, dict[str, float]] = {}
    missing: dict[str, dict[str, str]] = {}
    sums: dict[str, str] = {}
    protocols: dict[str, MetricProtocol] = {}
    dimensions: dict[str, int] = {}
    absent = absent or {}
    for name in settings["extractors"]:
        if name in absent:
            continue
        prepare_extractor(name, device, packed_directory, out)
        extractor = load_extractor(name, device, out)
        train_images, holdout_images = reals, held_out
        if suits_all_metrics(extractor) and not extractor.network:
            train_images, holdout_images = train, holdout[: max(MAX_HOLDOUT, count)]
        train_values = extract(extractor, train_images, "reals", cache_dir, device).values
        holdout_features = extract(extractor, holdout_images, "held-out reals", cache_dir, device)
        real_features = FeatureSet(train_values[: len(reals)], device)
        searched = _compact(train_values) if len(train_values) > len(reals) else train_values[:0]
        derived = _derive(extractor, real_features, sample_count)
        if suits_all_metrics(extractor):
            unseen = FeatureSet(holdout_features.values[:MAX_RATIOS], device)
            known = FeatureSet(searched, device) if len(searched) else real_features
            derived[RATIOS] = copy_ratios(Comparison(extractor, unseen, known))
        _save(
            out / f"{name}.npz", reals=real_features.values, train=searched, holdout=holdout_features.values, **derived
        )
        sums[name] = atomic.sha256(out / f"{name}.npz")
        dimensions[name] = real_features.values.shape[1]

        against = partial(_measure_sets, extractor, real_features, settings, cache_dir, device)
        results = against(anchors, lambda metric: metric.anchored)
        _enter(results, table)
        # A network takes minutes for the battery, so it is for the one that leads.
        if not extractor.network or yields(extractor, settings["lead"]):
            fooled = against(degraded, lambda metric: metric.may_lead)
            _enter(fooled, fooling)
            results |= fooled
        for member, measured in results.items():
            protocols |= measured.protocol
            for metric, reason in measured.not_measured.items():
                missing.setdefault(metric, {})[member] = reason
    atomic.write_json(
        out / "anchors.json",
        {
            "metrics": table,
            "battery": fooling,
            "not_measured": missing,
            "protocol": protocols,
            "dimensions": dimensions,
            "sha256": sums,
            "absent": dict(absent),
            "count": count,
            "reals": len(reals),
            "train": len(train),
            "shape": list(reals.shape[1:]),
            "described": {member.name: member.described for member in (*anchors, *degraded)},
        },
    )


def read_absent(directory: Path) -> dict[str, str]:
    """Return extractor → why, of those that the reference leaves out.

    Raises: GanealogyError when anchors.json is absent or damaged.
    """
    anchors: AnchorsJson = read_record(directory / "anchors.json", REMEDY, ("absent",), AnchorsJson)
    return anchors["absent"]


def read_reference(directory: Path, extractor: Extractor, shape: tuple[int, ...], device: str = "cpu") -> Reals:
    """Read the real pictures' features by this extractor. `shape`: the fakes' (H, W, C).

    `device`: where metrics will be computed.

    Raises: GanealogyError when the files are absent or damaged, or of another protocol or image size.
    """
    path = directory / f"{extractor.name}.npz"
    try:
        keys = ("sha256", "shape", "train", "reals", "protocol")
        anchors: AnchorsJson = read_record(directory / "anchors.json", REMEDY, keys, AnchorsJson)
        verify(path, anchors["sha256"].get(extractor.name), REMEDY)
        with open_npz(path) as content:
            arrays = {name: content.read(name) for name in content.headers}
            real, train, holdout = (arrays.pop(name) for name in ("reals", "train", "holdout"))
        image_shape, train_count = anchors["shape"], anchors["train"]
        protocols = [entry for entry in anchors["protocol"].values() if entry["extractor"] == extractor.name]
        fits = all(entry.get(key) == value for entry in protocols for key, value in extractor.protocol.items())
        for features, types in ((real, ["f4"]), (train, ["f2", "f4"]), (holdout, ["f4"])):
            if features.dtype.str[1:] not in types or features.ndim != 2 or features.shape[1] != real.shape[1]:
                raise ValueError(f"features {features.dtype} {features.shape}")
        if len(real) != anchors["reals"] or len(train) not in (0, train_count):
            raise ValueError(f"features of {len(real)} reals and {len(train)} training pictures")
        reals = _with_derived(extractor, FeatureSet(real, device), arrays)
        holdout_ratios = arrays.get(RATIOS, np.empty(0))
    except NUMPY_DAMAGE as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {REMEDY.damaged}") from None
    if image_shape != list(shape):
        raise GanealogyError(
            f"{directory}: computed from images {image_shape}, the fakes are {list(shape)}; {REMEDY.absent}"
        )
    if not fits:
        raise GanealogyError(
            f"{path}: measured with other weights or another resize than {extractor.name}'s; {REMEDY.damaged}"
        )
    searched = FeatureSet(train, device) if len(train) else reals
    return Reals(reals, searched, FeatureSet(holdout, device), train_count, holdout_ratios)


def _measure_sets(
    extractor: Extractor,
    reals: FeatureSet,
    settings: EvaluateSettings,
    cache_dir: Path | None,
    device: str,
    members: list[Member],
    only: Callable[[Metric], bool],
) -> dict[str, Measured]:
    """Return the results of each set, by its name."""
    k, results = settings["neighbours"], dict[str, Measured]()
    for member in members:
        fakes = _extract_distinct(extractor, member, cache_dir, device)
        results[member.name] = measure(Comparison(extractor, fakes, reals, k=k), only, settings["metrics"])
    return results


def _enter(results: dict[str, Measured], table: dict[str, dict[str, float]]) -> None:
    """Enter the results into a table of metric → set → value."""
    for member, measured in results.items():
        for metric, value in measured.metrics.items():
            table.setdefault(metric, {})[member] = value


def _extract_distinct(extractor: Extractor, member: Member, cache_dir: Path | None, device: str) -> FeatureSet:
    """Return the features of all pictures of a set; each distinct picture is passed through the extractor once."""
    keys = [picture.tobytes() for picture in member.pictures]
    rows = {key: row for row, key in reversed(list(enumerate(keys)))}
    first = sorted(rows.values())
    place = {keys[row]: index for index, row in enumerate(first)}
    values = extract(extractor, member.pictures[first], f"{member.name} anchor", cache_dir, device).values
    return FeatureSet(values[[place[key] for key in keys]], device)


def _compact(features: NDArray[np.float32]) -> NDArray[Any]:
    """Return the features in half precision, unless some are too large for it.

    The error is 0.05 % of a feature, far less than between two pictures, and 180,000 pictures take 70 MB.
    """
    return features.astype(np.float16) if np.abs(features).max() < np.finfo(np.float16).max else features


def _derive(extractor: Extractor, reals: FeatureSet, fakes: int) -> dict[str, NDArray[Any]]:
    """Return squared spacings (N, 5), KID's kernel sums (subsets,) against that many fakes and setup (5,), whitenings.

    Arrays are empty for too few images or where the extractor's metrics do not need them.
    """
    whitenings = {block.name: reals.whitening(block) for block in whitened_blocks(extractor, reals.values.shape[1])}
    setups = [kid.setup(fakes, len(reals))] if extractor.network and fakes >= MIN_IMAGES else []
    return {
        SPACINGS: reals.squared_spacings if _has_spacings(extractor, reals) else np.empty((0, prdc.K)),
        SUMS: np.concatenate([np.empty(0), *map(reals.kernel_sums_as_reals, setups)]),
        SETUP: np.array(setups, np.int64).ravel(),
        **{
            WHITENED.format(name, part): array
            for name, each in whitenings.items()
            for part, array in vars(each).items()
        },
    }


def _has_spacings(extractor: Extractor, reals: FeatureSet) -> bool:
    return len(reals) > prdc.K and suits_all_metrics(extractor)


def _with_derived(extractor: Extractor, reals: FeatureSet, derived: dict[str, NDArray[Any]]) -> FeatureSet:
    """Return the reals' features with the values of `_derive` filled in.

    Raises: ValueError, TypeError or IndexError when they do not fit the features.
    """
    spacings, sums, setup = derived[SPACINGS], derived[SUMS], derived[SETUP]
    setups = [kid.Setup(*setup.tolist())] if setup.size else []
    rows = len(reals) if _has_spacings(extractor, reals) else 0
    expected = (rows, prdc.K), (setups[0].subsets if setups else 0,)
    if (spacings.shape, sums.shape) != expected or {spacings.dtype, sums.dtype} != {np.dtype(np.float64)}:
        shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in derived.items())
        raise ValueError(f"{shapes} do not fit {len(reals)} reals")
    if spacings.size:
        reals.squared_spacings = spacings  # fills the cached property
    reals.kernel_sums = dict.fromkeys(setups, sums)
    for block in whitened_blocks(extractor, reals.values.shape[1]):
        parts = {part.name: derived[WHITENED.format(block.name, part.name)] for part in fields(Whitening)}
        reals.whitenings[block.name] = Whitening(**parts)
    return reals


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    with atomic.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)
