"""The `evaluate` stage: pass a run's samples through each extractor once, and compute all metrics from the features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.data import packed
from ganealogy.errors import GanealogyError, Remedy
from ganealogy.evaluation.class_coverage import class_coverage
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import extract, load_extractor
from ganealogy.evaluation.measure import Comparison, Measured, full_name, measure, suits_all_metrics, yields
from ganealogy.evaluation.neighbour_sheet import SAMPLES, neighbour_sheet
from ganealogy.evaluation.reference import Reals, read_absent, read_reference
from ganealogy.files import atomic
from ganealogy.files.images import save_png
from ganealogy.files.integrity import verify
from ganealogy.files.records import read_record
from ganealogy.record_types import EvaluateSettings, MetricProtocol, MetricsJson, RunJson, SampleJson
from ganealogy.runtime import distributed
from ganealogy.sampling.labels import proportional_labels
from ganealogy.workspace import RunDir

IMAGES = "images.npy"
"""The samples that everything is measured on."""
WEIGHTS = "EMA where the recipe has one, else raw"
"""The rule, not the run's own weights, so that a version that introduces EMA stays comparable with its parent."""


@dataclass(frozen=True)
class Against:
    """One extractor with the real pictures' features: what sets of fakes are compared with."""

    extractor: Extractor
    real: Reals
    k: int
    """See `Comparison.k`."""
    cache_dir: Path | None
    device: str

    def compare(self, fakes: NDArray[np.uint8], label: str) -> Comparison:
        """Pass the fakes (N, H, W, C) through the extractor. All ranks must call this; the first has the features."""
        features = extract(self.extractor, fakes, label, self.cache_dir, self.device)
        real = self.real
        sets = (features, real.reals, real.train, real.holdout, real.train_count, real.holdout_ratios)
        return Comparison(self.extractor, *sets, self.k)


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

    Everything is measured on the samples, and the lead metric also on the other sample sets and the other checkpoint.
    A diverged run with samples is measured; a run without samples gets the reason and no metrics. An extractor that the
    reference leaves out is not measured either.

    `settings`: the evaluate section of params.yaml. `reference`: the directory that `measure_reference` wrote.
    `packed_directory`: if given, also draw `evaluate/neighbours.png`, samples beside their nearest training pictures,
    and measure how well each class is covered, if the data set has classes.
    `cache_dir`: of features, see `extract`.

    Raises: GanealogyError when files of the run or the reference are absent, damaged or inconsistent.
    """
    sample: SampleJson = read_record(run / "sample/sample.json", Remedy(f"sample@{run.version}"), kind=SampleJson)
    trained: RunJson = read_record(run / "train/run.json", Remedy(f"train@{run.version}"), kind=RunJson)
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
        "repeats": {},
        "other": None,
        "protocol": {},
        "not_measured": {},
        "flags": {},
        "neighbours": {},
    }
    sheet = run / "evaluate/neighbours.png"
    sheet.unlink(missing_ok=True)  # of an earlier evaluation
    if sample["count"]:
        fakes, label = _open_samples(run, IMAGES, sample["sha256"]), f"{sample['version']} seed {sample['seed']}"
        conditions: MetricProtocol = {
            "checkpoint": sample["checkpoint"],
            "weights": WEIGHTS,
            "temperature": sample["temperature"],
            "batch_statistics": sample["batch_statistics"],
            "latent_seed": sample["latent_seed"],
        }
        labels = None if packed_directory is None else packed.open_labels(packed_directory, "train")
        counts = trained.get("class_counts")
        drawn_as = proportional_labels(counts, len(fakes)) if counts else None
        best: Comparison | None = None
        absent = read_absent(reference)
        for name in settings["extractors"]:
            if name in absent:
                record["not_measured"][full_name("fd_{}", name)] = absent[name]
                continue
            extractor = load_extractor(name, device, reference)
            real = read_reference(reference, extractor, fakes.shape[1:], device)
            against = Against(extractor, real, settings["neighbours"], cache_dir, device)
            comparison = against.compare(fakes, label)
            measured = (
                measure(comparison, names=settings["metrics"], **conditions) if distributed.is_first() else Measured()
            )
            if yields(extractor, settings["lead"]):
                _measure_lead(record, settings["lead"], run, sample, against, measured)
            if not distributed.is_first():
                continue
            record["metrics"] |= measured.metrics
            record["protocol"] |= measured.protocol
            record["not_measured"] |= measured.not_measured
            record["flags"] |= measured.flags
            if suits_all_metrics(extractor) and np.isfinite(comparison.fakes.values).all():
                record["neighbours"][name] = _neighbours(comparison)
                if labels is not None and (found := class_coverage(comparison, labels, drawn_as)) is not None:
                    record.setdefault("classes", {})[name] = found
                if best is None or _searches_better(comparison, best):
                    best = comparison
        if packed_directory is not None and best is not None:
            train = _searched(packed_directory, fakes, len(best.searched))
            save_png(neighbour_sheet(fakes, train, best.neighbours[0]), sheet)
    if distributed.is_first():
        atomic.write_json(run / "evaluate/metrics.json", record)
    return record


def _measure_lead(
    record: MetricsJson, lead: str, run: RunDir, sample: SampleJson, against: Against, measured: Measured
) -> None:
    """Add the lead metric of each sample set and of the other checkpoint to the record.

    `measured`: the metrics of images.npy.
    """

    def value(file: str, sha256: str, label: str) -> float | None:
        """Return the metric of an array of sample/; None where it cannot be measured, and on other ranks."""
        if file == IMAGES:
            return measured.metrics.get(lead)
        name = f"{sample['version']} seed {sample['seed']} · {label}"
        compared = against.compare(_open_samples(run, file, sha256), name)
        if not distributed.is_first():
            return None
        return measure(compared, lambda metric: metric.named(lead, against.extractor)).metrics.get(lead)

    more = [value(each["file"], each["sha256"], f"set {index}") for index, each in enumerate(sample["repeats"], 2)]
    record["repeats"] = {lead: [number for number in (measured.metrics.get(lead), *more) if number is not None]}
    if (other := sample["other"]) is not None:
        number = value(other["file"], other["sha256"], other["checkpoint"])
        record["other"] = {
            "checkpoint": other["checkpoint"],
            "step": other["step"],
            "kimg": other["kimg"],
            "metrics": {} if number is None else {lead: number},
        }


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


def _open_samples(run: RunDir, file: str, sha256: str | None) -> NDArray[np.uint8]:
    """Raises: GanealogyError when the array is absent, damaged or not the one that was recorded."""
    path, remedy = run / f"sample/{Path(file).name}", Remedy(f"sample@{run.version}")
    verify(path, sha256, remedy)
    return packed.open_pictures(path, remedy.damaged)


def _searched(packed_directory: Path, fakes: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """Return the training pictures; the reference contains features of the first `rows`."""
    train = packed.open_split(packed_directory, "train")
    if len(train) < rows or train.shape[1:] != fakes.shape[1:]:
        path = packed_directory / "train.npy"
        expected = f"at least {rows} pictures, as in the reference, of the samples' shape {tuple(fakes.shape[1:])}"
        remedy = Remedy("preprocess").damaged
        raise GanealogyError(f"{path}: shape {tuple(train.shape)}, expected {expected}; {remedy}")
    return train
