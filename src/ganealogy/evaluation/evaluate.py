"""The `evaluate` stage: one pass of a run's samples through each extractor, every metric from those features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.data import packed
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import extract, load_extractor
from ganealogy.evaluation.measure import Comparison, measure
from ganealogy.evaluation.neighbour_sheet import SAMPLES, neighbour_sheet
from ganealogy.evaluation.reference import read_reference
from ganealogy.files import atomic
from ganealogy.files.images import save_png
from ganealogy.runtime import distributed

WEIGHTS = "EMA where the recipe has one, else raw"
"""The rule, and not what a run had: a version whose idea is EMA must stay comparable."""


def evaluate(
    run: Path,
    settings: dict[str, Any],
    reference: Path,
    packed_directory: Path | None = None,
    *,
    device: str = "cpu",
    kept: Path | None = None,
) -> dict[str, Any]:
    """Write `evaluate/metrics.json` of a run directory, and return its content.

    `settings` is the evaluate section of the parameters; `reference` the directory that `measure_reference` wrote.
    With the `packed_directory` samples are drawn beside their nearest training pictures, in `evaluate/neighbours.png`.
    `kept`: where features are left for the next time (see `extract`).
    A diverged run is measured when it left samples; a run without samples gets no metrics and the reason.

    Raises: GanealogyError when the run's or the reference's files are absent, damaged or do not fit each other.
    """
    sample = _read_json(run / "sample" / "sample.json")
    trained = _read_json(run / "train" / "run.json")
    record: dict[str, Any] = {
        "version": sample["version"],
        "seed": sample["seed"],
        "status": trained["status"],
        "reason": sample.get("reason") or trained.get("reason"),
        "checkpoint": sample["checkpoint"],
        "step": sample["step"],
        "kimg": sample["kimg"],
        "ema": bool((trained.get("recipe") or {}).get("ema")),
        "metrics": {},
        "protocol": {},
        "not_measured": {},
        "flags": {},
        "neighbours": {},
    }
    sheet = run / "evaluate" / "neighbours.png"
    sheet.unlink(missing_ok=True)  # an earlier evaluation's
    if sample["count"]:
        fakes = _open_samples(run / "sample" / "images.npy", sample["sha256"])
        about = {
            "checkpoint": sample["checkpoint"],
            "weights": WEIGHTS,
            "truncation": sample["truncation"],
            "latent_seed": sample["latent_seed"],
        }
        best: Comparison | None = None
        for name in settings["extractors"]:
            extractor = load_extractor(name, device, reference)
            real = read_reference(reference, extractor, fakes.shape[1:], device)
            features = extract(extractor, fakes, f"{sample['version']} seed {sample['seed']}", kept, device)
            if not distributed.is_first():
                continue
            comparison = Comparison(extractor, features, real.reals, real.train, real.holdout)
            measured = measure(comparison, **about)
            for key in ("metrics", "protocol", "not_measured", "flags"):
                record[key] |= getattr(measured, key)
            if np.isfinite(features.values).all():
                record["neighbours"][name] = _neighbours(comparison)
                if best is None or (extractor.network and not best.extractor.network):
                    best = comparison
        if packed_directory is not None and best is not None:
            train = _searched(packed_directory, fakes, len(best.searched))
            save_png(neighbour_sheet(fakes, train, best.neighbours[0]), sheet)
    if distributed.is_first():
        atomic.write_json(run / "evaluate" / "metrics.json", record)
    return record


def _neighbours(comparison: Comparison) -> list[list[Any]]:
    """Of the first samples: its index, its nearest training pictures' rows in train.npy, their distances."""
    indices, distances = (side[:SAMPLES] for side in comparison.neighbours)
    return [
        [sample, rows.tolist(), [float(f"{distance:.6g}") for distance in far]]
        for sample, (rows, far) in enumerate(zip(indices, distances, strict=True))
    ]


def _open_samples(path: Path, sha256: str) -> NDArray[np.uint8]:
    cure = f"run `dvc repro sample@{path.parent.parent.name}`"
    if path.is_file() and atomic.sha256(path) != sha256:
        raise GanealogyError(f"{path}: not the bytes that sample.json tells of (sha256 differs); {cure}")
    return packed.open_pictures(path, cure)


def _searched(packed_directory: Path, fakes: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """The training pictures whose first `rows` the reference holds features of."""
    train = packed.open_split(packed_directory, "train")
    if len(train) < rows or train.shape[1:] != fakes.shape[1:]:
        path, found = packed_directory / "train.npy", tuple(train.shape)
        fit = f"the reference knows {rows} of them, and the samples are {tuple(fakes.shape[1:])}"
        raise GanealogyError(f"{path}: {found} does not fit: {fit}; {packed.CURE}")
    return train


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cure = f"run `dvc repro {path.parent.name}@{path.parent.parent.name}`"
        raise GanealogyError(f"{path}: cannot be read ({error}); {cure}") from None
    return content
