"""Data of the report as typed objects: runs, versions, and what cannot be shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from ganealogy.lineage.changes import Change
from ganealogy.verdicts.estimates import mean
from ganealogy.verdicts.metric_kinds import is_distance
from ganealogy.verdicts.primary_metric import in_order
from ganealogy.workspace import RunDir

Json: TypeAlias = "dict[str, Any]"
"""A JSON mapping, for a page or from a record that may be damaged."""
ANCHORS = {
    "floor": "held-out reals",
    "gaussian": "draws of a Gaussian fitted to all pixels",
    "rep100": "100 training pictures, repeated",
    "rep50": "50 training pictures, repeated",
    "rep25": "25 training pictures, repeated",
    "mean_image": "the mean image, repeated",
}
"""Anchors in the order of the table, with descriptions for a reference stage that wrote none."""
FID_NOT_USED = "the name is reserved for pytorch-fid's Inception, which was not used"
FID_COMMANDS = "ganealogy fetch inception, then dvc repro"
ONE_FROM_SCRATCH = "only one of them was trained from scratch"
OTHER_STARTS = "they start from different networks"
COMPLETE = ("finished", "stopped")
"""Statuses of trainings that ended with weights to measure, and will not go on."""
GATE = "rep25"
"""Anchor that a version must be better than on the primary metric, to be compared."""


@dataclass(frozen=True)
class Gap:
    """Something the report cannot show: what, why, and the command that fixes it (empty if there is none)."""

    what: str
    why: str
    hint: str = ""


@dataclass(eq=False)
class Run:
    """One version trained with one seed.

    Status: finished, stopped, diverged, interrupted, running, missing or broken.
    """

    version: str
    seed: int
    directory: RunDir
    status: str = "missing"
    reason: str = ""
    steps: int = 0
    kimg: float = 0.0
    best: Json = field(default_factory=dict)
    ticks: list[Json] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    protocols: dict[str, Json] = field(default_factory=dict)
    repeats: dict[str, list[float]] = field(default_factory=dict)
    """Primary metric → its value on each sample set, that of `metrics` first."""
    other: Json = field(default_factory=dict)
    """The primary metric of the checkpoint that is not the measured one, by name."""
    cost: Json = field(default_factory=dict)
    flags: dict[str, Json] = field(default_factory=dict)
    health: list[Json] = field(default_factory=list)
    """Signs of trouble during the training: see `record_types.Sign`."""
    not_measured: dict[str, str] = field(default_factory=dict)
    classes: Json = field(default_factory=dict)
    """Extractor → coverage of each class: see `evaluation/class_coverage.py`."""
    neighbours: bool = False
    """Whether the evaluation drew the nearest training pictures of some samples."""
    ema: bool | None = None
    key: str = ""
    """The run key (see `workspace.run_key`), which is also a tag of the MLflow run."""

    @property
    def name(self) -> str:
        """Name in MLflow and of files: `v3-0`."""
        return f"{self.version}-{self.seed}"

    @property
    def label(self) -> str:
        """Name in sentences: `v3 seed 0`."""
        return f"{self.version} seed {self.seed}"

    def series(self, column: str) -> list[tuple[float, float]]:
        """Return (kimg, value) of the ticks with a finite value in that column of metrics.jsonl."""
        points = [(number(tick.get("kimg")), number(tick.get(column))) for tick in self.ticks]
        return [(kimg, value) for kimg, value in points if kimg is not None and value is not None]

    def last_value(self, column: str) -> float | None:
        """Return the column's value at the last tick that has one."""
        points = self.series(column)
        return points[-1][1] if points else None

    def tick_seconds(self) -> dict[float, float]:
        """Return kimg → seconds of training up to each tick; empty if they were not recorded."""
        recorded = self.cost.get("tick_seconds")
        if not isinstance(recorded, list) or len(recorded) < len(self.ticks):
            return {}
        pairs = [(number(tick.get("kimg")), number(at)) for tick, at in zip(self.ticks, recorded, strict=False)]
        return {kimg: at for kimg, at in pairs if kimg is not None and at is not None}

    @property
    def flag_reasons(self) -> dict[str, str]:
        """Flags that the evaluation raised: `collapsed_effnet_lite0` → reason."""
        return {name: str(flag.get("why") or "") for name, flag in self.flags.items() if flag.get("flag")}

    @property
    def command(self) -> str:
        """The command that trains the run."""
        return f"dvc repro train@{self.version}"


@dataclass(frozen=True)
class Conclusion:
    text: str
    numbers: str = ""
    """Digest of the numbers that it is about; empty if it was written by hand."""


@dataclass
class Version:
    """A node of the family tree with one run per seed; an unlisted ancestor has no runs."""

    name: str
    title: str
    idea: str
    source: str
    note: str
    parent: str | None
    listed: bool
    index: int
    changes: list[Change]
    recipe: Json
    parameters: dict[str, int]
    flops: int | None = None
    """Floating-point operations of a training step per image."""
    seeds: list[int] = field(default_factory=list)
    """Those of the plan."""
    fingerprint: str = ""
    """Of the resolved recipe, the protocol and the code."""
    runs: list[Run] = field(default_factory=list)
    children: list[Version] = field(default_factory=list)
    sample_flops: int | None = None
    """Floating-point operations of a sample, all steps of a sampler included."""
    layers: dict[str, list[Json]] = field(default_factory=dict)
    """`generator`, `discriminator` → their layers; empty in plans of earlier releases."""
    conclusion: Conclusion | None = None
    parents: list[str] = field(default_factory=list)
    """The versions that it is compared with: two of a merge, whose first one is `parent`."""
    ablates: Json = field(default_factory=dict)
    """Of a version that takes another listed one apart: `lineage.versions.Ablates`."""
    ablations: list[Version] = field(default_factory=list)
    """The versions that take this one apart. They are not among `children`."""
    start: Json = field(default_factory=dict)
    """Version, seed, kimg and operations of the training that it starts from; empty if from random weights."""
    in_force: list[str] = field(default_factory=list)
    """Ancestors of whose ideas it has something, without its root."""
    overwritten: list[str] = field(default_factory=list)
    """Ancestors of whose ideas nothing is left in it."""

    def values(self, metric: str) -> dict[int, float]:
        """Return seed → value, for the seeds that have one."""
        return {run.seed: run.metrics[metric] for run in self.runs if metric in run.metrics}

    def repeats(self, metric: str) -> dict[int, list[float]]:
        """Return seed → value on each sample set, for the seeds that have a value."""
        return {seed: self._run(seed).repeats.get(metric, []) or [value] for seed, value in self.values(metric).items()}

    def other_values(self, metric: str) -> dict[int, float]:
        """Return seed → value of the checkpoint that is not the measured one, for the seeds that have both."""
        measured = {seed: number(self._run(seed).other.get(metric)) for seed in self.values(metric)}
        return {seed: value for seed, value in measured.items() if value is not None}

    def mean(self, metric: str) -> float | None:
        """Return the mean over the seeds with a value: geometric for a metric compared on the logarithm."""
        values = self.values(metric).values()
        return mean(metric, values) if values else None

    def _run(self, seed: int) -> Run:
        return next(run for run in self.runs if run.seed == seed)

    def cost(self, key: str) -> float | None:
        """Return the arithmetic mean over seeds of a number in the cost files of the trainings."""
        return _mean([run.cost.get(key) for run in self.runs])

    def best_and_last(self, column: str) -> tuple[float | None, float | None]:
        """Return the tracker's value at the best checkpoint and at the last tick, arithmetic means over seeds."""
        return _mean([run.best.get("score") for run in self.runs]), _mean([run.last_value(column) for run in self.runs])

    @property
    def training_flops(self) -> float | None:
        """Operations of a whole training, mean over seeds: D and G steps, without ticks; with those of its start."""
        kimg = _mean([run.kimg or None for run in self.runs])
        before = number(self.start.get("flops")) or 0
        return None if self.flops is None or kimg is None else before + 1000 * kimg * self.flops

    @property
    def started(self) -> str:
        """`from v1 at 100 kimg, not trained from scratch`; empty for other versions."""
        kimg = number(self.start.get("kimg"))
        return f"from {self.start.get('version')} at {kimg:g} kimg, not trained from scratch" if kimg else ""

    @property
    def pinned_rates(self) -> list[str]:
        """Optimizers whose rate does not depend on `train.lr`: ["D's sgd at 0.02"]."""
        optimizers = self.recipe.get("optimizers") or {}
        return [
            f"{network[0].upper()}'s {optimizers[network].get('name')} at {rate:g}"
            for network in ("generator", "discriminator")
            if (rate := number((optimizers.get(network) or {}).get("lr"))) is not None
        ]

    @property
    def flagged(self) -> dict[str, list[Run]]:
        """Kind of flag (`collapsed`, `memorised`) → runs on which at least one extractor raised it."""
        kinds: dict[str, list[Run]] = {}
        for run in self.runs:
            for kind in dict.fromkeys(name.partition("_")[0] for name in run.flag_reasons):
                kinds.setdefault(kind, []).append(run)
        return kinds

    @property
    def unfinished(self) -> list[Run]:
        return [run for run in self.runs if run.status not in COMPLETE]


@dataclass
class Findings:
    """All data of the report, before layout."""

    root: Path
    versions: list[Version]
    dataset: Json
    train: Json
    sample: Json
    evaluate: Json
    manifest: Json
    anchors: dict[str, dict[str, float]]
    """Metric → anchor → value."""
    anchors_described: dict[str, str]
    gaps: list[Gap]
    battery: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metric that may lead → degraded set → value: see evaluation/battery.py."""
    left_out: list[str] = field(default_factory=list)
    """Known versions of the same trees that the plan does not list."""
    noise: Json = field(default_factory=dict)
    """reports/noise.json, of `ganealogy noise`, if it belongs to the present plan and data."""

    @property
    def listed(self) -> list[Version]:
        return [version for version in self.versions if version.listed]

    @property
    def shared_seeds(self) -> list[int]:
        """Seeds that all listed versions have, in the plan's order."""
        seeds = [version.seeds for version in self.listed]
        return [seed for seed in seeds[0] if all(seed in others for others in seeds)] if seeds else []

    @property
    def seeds(self) -> list[int]:
        """Seeds that any listed version has: the shared ones, then the others in ascending order."""
        shared = self.shared_seeds
        return [*shared, *sorted({seed for version in self.listed for seed in version.seeds}.difference(shared))]

    @property
    def more_seeds(self) -> dict[str, list[int]]:
        """Listed version → its seeds that are not shared, for versions that have some."""
        shared = self.shared_seeds
        more = {version.name: [seed for seed in version.seeds if seed not in shared] for version in self.listed}
        return {name: seeds for name, seeds in more.items() if seeds}

    @property
    def roots(self) -> list[Version]:
        names = {version.name for version in self.versions}
        folded = {each.name for version in self.versions for each in version.ablations}
        return [each for each in self.versions if each.parent not in names and each.name not in folded]

    @property
    def runs(self) -> list[Run]:
        return [run for version in self.listed for run in version.runs]

    @property
    def tracker(self) -> str:
        """Column of metrics.jsonl by which the best checkpoint was selected."""
        return f"fd_{self.train.get('tracker', 'pixel8')}"

    @property
    def metrics(self) -> list[str]:
        """Measured metrics: the leading one, then the distances of the configured extractors, then all others."""
        first = in_order(self.primary_metric, self.evaluate.get("extractors", []))
        measured = {name for run in self.runs for name in run.metrics if not name.endswith("_se")}
        return [name for name in first if name in measured] + sorted(measured - set(first))

    @property
    def why_no_fid(self) -> tuple[str, str]:
        """Return why no run has FID, and the commands that measure it; they are empty if the reason has its own."""
        reasons = dict.fromkeys(run.not_measured["fid"] for run in self.runs if "fid" in run.not_measured)
        return ("; ".join(reasons), "") if reasons else (FID_NOT_USED, FID_COMMANDS)

    @property
    def primary_metric(self) -> str:
        """The leading metric: by which versions are compared, shown in the tree. The tracker's if a plan names none."""
        return str(self.evaluate.get("lead") or self.tracker)

    @property
    def gate(self) -> float | None:
        """The primary metric of the gate's anchor; None if it was not measured."""
        return self.anchors.get(self.primary_metric, {}).get(GATE)

    def why_not_compared(self, child: str, parent: str | None) -> str:
        """Return why two versions get no verdict: it would be about their starts, not the idea. Else empty."""
        starts = {version.name: version.start for version in self.listed}
        if parent not in starts or child not in starts:
            return ""
        here, there = ([starts[name].get(key) for key in ("version", "seed", "kimg")] for name in (child, parent))
        if here == there:
            return ""
        return OTHER_STARTS if starts[child] and starts[parent] else ONE_FROM_SCRATCH

    def passes_anchor(self, version: Version, metric: str) -> bool | None:
        """Return whether the version's mean distance is below the anchor that it must pass; None if either is missing.

        That is the gate for the primary metric, the mean image for other distances.
        """
        if not is_distance(metric):
            return None
        anchor = self.gate if metric == self.primary_metric else self.anchors.get(metric, {}).get("mean_image")
        value = version.mean(metric)
        return None if value is None or anchor is None else value < anchor


def number(value: Any) -> float | None:
    """Return a finite number, or None: NaN and Infinity are not results."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _mean(values: list[Any]) -> float | None:
    """Return the mean of the finite numbers."""
    numbers = [finite for value in values if (finite := number(value)) is not None]
    return fmean(numbers) if numbers else None
