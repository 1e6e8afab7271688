"""The `evaluate` stage: pass a run's samples through each extractor once, and compute all metrics from the features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.data import packed
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import extract, load_extractor
from ganealogy.evaluation.measure import Comparison, measure, suits_all_metrics
from ganealogy.evaluation.neighbour_sheet import SAMPLES, neighbour_sheet
from ganealogy.evaluation.reference import read_reference
from ganealogy.files import atomic
from ganealogy.files.images import save_png
from ganealogy.files.records import read_record
from ganealogy.record_types import EvaluateSettings, MetricProtocol, MetricsJson, RunJson, SampleJson
from ganealogy.runtime import distributed
from ganealogy.workspace import RunDir

WEIGHTS = "EMA where the recipe has one, else raw"
"""The rule, not the run's own weights, so that a version that introduces EMA stays comparable with its parent."""


def evaluate(
    run: RunDir,
    settings: EvaluateSettings,
    reference: Path,
    packed_directory: Path | None = None,
    *,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> MetricsJson:
    """Write `evaluate/metrics.json` of a run directory, and return its content.

    A diverged run with samples is measured; a run without samples gets the reason and no metrics.

    `settings`: the evaluate section of params.yaml. `reference`: the directory that `measure_reference` wrote.
    `packed_directory`: if given, also draw `evaluate/neighbours.png`, samples beside their nearest training pictures.
    `cache_dir`: of features, see `extract`.

    Raises: GanealogyError when files of the run or the reference are absent, damaged or inconsistent.
    """
    sample: SampleJson = read_record(run / "sample/sample.json", f"run `dvc repro sample@{run.version}`")
    trained: RunJson = read_record(run / "train/run.json", f"run `dvc repro train@{run.version}`")
    record: MetricsJson = {
        "version": sample["version"],
        "seed": sample["seed"],
        "status": trained["status"],
        "reason": sample.get("reason") or trained.get("reason"),
        "checkpoint": sample["checkpoint"],
        "step": sample["step"],
        "kimg": sample["kimg"],
        "ema": bool(trained["recipe"]["ema"]),
        "lead": settings["lead"],
        "metrics": {},
        "protocol": {},
        "not_measured": {},
        "flags": {},
        "neighbours": {},
    }
    sheet = run / "evaluate/neighbours.png"
    sheet.unlink(missing_ok=True)  # of an earlier evaluation
    if sample["count"]:
        fakes = _open_samples(run / "sample/images.npy", str(sample["sha256"]), f"run `dvc repro sample@{run.version}`")
        conditions: MetricProtocol = {
            "checkpoint": sample["checkpoint"],
            "weights": WEIGHTS,
            "temperature": sample["temperature"],
            "batch_statistics": sample["batch_statistics"],
            "latent_seed": sample["latent_seed"],
        }
        best: Comparison | None = None
        for name in settings["extractors"]:
            extractor = load_extractor(name, device, reference)
            real = read_reference(reference, extractor, fakes.shape[1:], device)
            features = extract(extractor, fakes, f"{sample['version']} seed {sample['seed']}", cache_dir, device)
            if not distributed.is_first():
                continue
            comparison = Comparison(
                extractor, features, real.reals, real.train, real.holdout, real.train_count, real.holdout_ratios
            )
            measured = measure(comparison, names=settings["metrics"], **conditions)
            record["metrics"] |= measured.metrics
            record["protocol"] |= measured.protocol
            record["not_measured"] |= measured.not_measured
            record["flags"] |= measured.flags
            if suits_all_metrics(extractor) and np.isfinite(features.values).all():
                record["neighbours"][name] = _neighbours(comparison)
                if best is None or _searches_better(comparison, best):
                    best = comparison
        if packed_directory is not None and best is not None:
            train = _searched(packed_directory, fakes, len(best.searched))
            save_png(neighbour_sheet(fakes, train, best.neighbours[0]), sheet)
    if distributed.is_first():
        atomic.write_json(run / "evaluate/metrics.json", record)
    return record


def _neighbours(comparison: Comparison) -> list[list[Any]]:
    """Return for each of the first samples: its index, the rows of its neighbours in train.npy, their distances."""
    indices, distances = (side[:SAMPLES] for side in comparison.neighbours)
    return [
        [sample, rows.tolist(), [float(f"{distance:.6g}") for distance in row_distances]]
        for sample, (rows, row_distances) in enumerate(zip(indices, distances, strict=True))
    ]


def _searches_better(first: Comparison, second: Comparison) -> bool:
    """Return whether the first searches more training pictures, or as many with a network's features."""
    ranks = [(len(each.searched), each.extractor.network) for each in (first, second)]
    return ranks[0] > ranks[1]


def _open_samples(path: Path, sha256: str, hint: str) -> NDArray[np.uint8]:
    if path.is_file() and atomic.sha256(path) != sha256:
        raise GanealogyError(f"{path}: its sha256 differs from sample.json's; {hint}")
    return packed.open_pictures(path, hint)


def _searched(packed_directory: Path, fakes: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """Return the training pictures; the reference contains features of the first `rows`."""
    train = packed.open_split(packed_directory, "train")
    if len(train) < rows or train.shape[1:] != fakes.shape[1:]:
        path = packed_directory / "train.npy"
        expected = f"at least {rows} pictures, as in the reference, of the samples' shape {tuple(fakes.shape[1:])}"
        raise GanealogyError(f"{path}: shape {tuple(train.shape)}, expected {expected}; {packed.HINT}")
    return train
