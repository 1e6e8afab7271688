"""The records of a run that never trained: all keys that the stages write, with values of a test's choice."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

from ganealogy.files import atomic
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.record_types import MetricsJson, RunJson, SampleJson
from ganealogy.workspace import RunDir, run_key

ROOT = Path(__file__).parents[2]
DATA = "d" * 64
PROTOCOL: dict[str, Any] = {
    "kimg": 60.0,
    "batch_size": 64,
    "width": 32,
    "precision": "fp32",
    "ticks": 5,
    "tracker": "pixel8",
    "tracker_images": 1000,
    "deterministic": False,
    "image_size": 32,
    "channels": 3,
}


def recipe(version: str = "v1", **changes: Any) -> dict[str, Any]:
    """Return the complete recipe of one of the project's versions, with changes merged in."""
    completed = deepcopy(_complete(version))
    return recipes.complete(recipes.merge(completed, changes), version) if changes else completed


@cache
def _complete(version: str) -> dict[str, Any]:
    return recipes.complete(read_family([version], ROOT / "versions")[version].recipe, version)


def run_json(version: str = "v1", seed: int = 0, **changes: Any) -> RunJson:
    """Return run.json of a finished training; `changes`: keys with other values, None included."""
    plan, data = changes.get("plan", f"plan of {version}"), changes.get("data", DATA)
    content = {
        "version": version,
        "parent": None if version == "v1" else "v1",
        "seed": seed,
        "plan": plan,
        "data": data,
        "key": run_key(plan, data, seed),
        "recipe": recipe(),
        "protocol": PROTOCOL,
        "status": "finished",
        "reason": None,
        "steps": 940,
        "kimg": 60.16,
        "best": {"step": 940, "kimg": 60.16, "score": 100.0},
        "tracker": "pixel8",
        "shown": "generator",
        "weights": {},
    }
    return cast(RunJson, content | changes)


def sample_json(version: str = "v1", seed: int = 0, **changes: Any) -> SampleJson:
    """Return sample.json of 500 samples."""
    content = {
        "version": version,
        "seed": seed,
        "checkpoint": "best",
        "step": 940,
        "kimg": 60.16,
        "count": 500,
        "latent_seed": 303,
        "temperature": 1.0,
        "batch_statistics": "running",
        "sha256": "5" * 64,
        "reason": None,
        "repeats": [],
        "other": None,
    }
    return cast(SampleJson, content | changes)


def metrics_json(version: str = "v1", seed: int = 0, **changes: Any) -> MetricsJson:
    """Return metrics.json of an evaluation; the protocol of each metric is the same unless given."""
    metrics = changes.get("metrics", {"fd_pixel8": 100.0})
    content = {
        "version": version,
        "seed": seed,
        "status": "finished",
        "reason": None,
        "checkpoint": "best",
        "step": 940,
        "kimg": 60.16,
        "ema": False,
        "lead": "fd_pixel8",
        "metrics": metrics,
        "repeats": {},
        "other": None,
        "protocol": {name: protocol_of(name) for name in metrics if not name.endswith("_se")},
        "not_measured": {},
        "flags": {},
        "neighbours": {},
    }
    return cast(MetricsJson, content | changes)


def protocol_of(metric: str) -> dict[str, Any]:
    """Return how a metric was measured."""
    return {
        "extractor": "inception" if metric == "fid" else metric.split("_", 1)[1],
        "weights_sha256": "579344248a93e230",
        "resize": "bicubic",
        "reals": 2000,
        "fakes": 500,
        "split": "train",
        "checkpoint": "best",
        "precision": "fp32",
        "fingerprint": "0123456789ab",
    }


def cost_json(seconds: float = 45.0, ticks: int = 5, **changes: Any) -> dict[str, Any]:
    """Return the cost file of a training."""
    content = {
        "seconds": seconds,
        "tick_seconds": [seconds * tick / ticks for tick in range(ticks + 1)],
        "images_per_second": 60_000 / seconds,
        "peak_memory_bytes": 612_000_000,
        "device": "cpu",
        "arithmetic": "fp32",
        "device_name": "x86_64",
        "threads": 2,
        "torch": "2.15.0",
        "python": "3.11.9",
        "host_cpus": 2,
        "resumed": 0,
    }
    return content | changes


def write_run(
    directory: RunDir,
    run: RunJson | None = None,
    sample: SampleJson | None = None,
    metrics: MetricsJson | None = None,
    cost: dict[str, Any] | None = None,
    ticks: list[dict[str, Any]] | None = None,
) -> RunDir:
    """Write the records that are given to the folders of a run, and return it."""
    records = {
        directory / "train/run.json": run,
        directory / "sample/sample.json": sample,
        directory / "evaluate/metrics.json": metrics,
        directory.costs["train"]: cost,
    }
    for path, content in records.items():
        if content is not None:
            atomic.write_json(path, content)
    if ticks is not None:
        atomic.write_text(directory / "train/metrics.jsonl", "".join(json.dumps(line) + "\n" for line in ticks))
    return directory
