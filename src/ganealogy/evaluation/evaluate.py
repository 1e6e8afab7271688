"""The `evaluate` stage: one pass of a run's samples through each extractor, every metric from those features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy import atomic, ranks
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import extract, load_extractor
from ganealogy.evaluation.metrics import measure, protocol
from ganealogy.evaluation.reference import read_reference


def evaluate(run: Path, settings: dict[str, Any], reference: Path, *, device: str = "cpu") -> dict[str, Any]:
    """Write `evaluate/metrics.json` of a run directory, and return its content.

    `settings` is the evaluate section of the parameters; `reference` the directory that `measure_reference` wrote.
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
        "metrics": {},
        "protocol": {},
    }
    if sample["count"]:
        fakes = _open_samples(run / "sample" / "images.npy", sample["sha256"])
        for name in settings["extractors"]:
            extractor = load_extractor(name, device)
            real_features = read_reference(reference, extractor, fakes.shape[1:])
            fake_features = extract(extractor, fakes, f"{sample['version']} seed {sample['seed']}")
            if not ranks.is_first():
                continue
            for metric, value in measure(extractor, fake_features, real_features).items():
                record["metrics"][metric] = value
                record["protocol"][metric] = protocol(
                    metric,
                    extractor,
                    len(fake_features),
                    len(real_features),
                    checkpoint=sample["checkpoint"],
                    truncation=sample["truncation"],
                )
    if ranks.is_first():
        atomic.write_json(run / "evaluate" / "metrics.json", record)
    return record


def _open_samples(path: Path, sha256: str) -> NDArray[np.uint8]:
    cure = f"run `dvc repro sample@{path.parent.parent.name}`"
    try:
        if atomic.sha256(path) != sha256:
            raise GanealogyError(f"{path}: not the bytes that sample.json tells of (sha256 differs); {cure}")
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {cure}") from None
    return images


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cure = f"run `dvc repro {path.parent.name}@{path.parent.parent.name}`"
        raise GanealogyError(f"{path}: cannot be read ({error}); {cure}") from None
    return content
