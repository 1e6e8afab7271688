"""What the report knows, as plain typed objects: runs, versions, and what cannot be shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ganealogy.lineage.changes import Change
from ganealogy.verdicts.metric_scales import is_distance, scale
from ganealogy.verdicts.primary_metric import lead

Json = dict[str, Any]
ANCHORS = {
    "floor": "held-out reals",
    "mean_image": "the mean image, repeated",
    "blur": "held-out reals, blurred",
    "noise": "held-out reals with noise",
}
"""Anchors in the order of the table, in the words used where the reference stage left none of its own."""


@dataclass(frozen=True)
class Gap:
    """Something the report cannot show: what, why, and what would cure it (empty when nothing a person types would)."""

    what: str
    why: str
    cure: str = ""


@dataclass(eq=False)
class Run:
    """One version trained with one seed. Status: finished, diverged, interrupted, running, missing or broken."""

    version: str
    seed: int
    directory: Path
    status: str = "missing"
    reason: str = ""
    steps: int = 0
    kimg: float = 0.0
    best: Json = field(default_factory=dict)
    ticks: list[Json] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    protocols: dict[str, Json] = field(default_factory=dict)
    checkpoint: str = ""
    checkpoint_kimg: float | None = None
    cost: Json = field(default_factory=dict)
    flags: dict[str, Json] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    neighbours: bool = False
    """Whether the evaluation drew the nearest training pictures of some samples."""
    ema: bool | None = None
    digest: str = ""
    """Of plan, data and seed: the tag by which MLflow's run is found."""

    @property
    def key(self) -> str:
        """As DVC and the run directory name it: `v3-0`."""
        return f"{self.version}-{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.version} seed {self.seed}"

    def series(self, column: str) -> list[tuple[float, float]]:
        """(kimg, value) of the ticks that have a finite one in that column of metrics.jsonl."""
        points = [(number(tick.get("kimg")), number(tick.get(column))) for tick in self.ticks]
        return [(kimg, value) for kimg, value in points if kimg is not None and value is not None]

    def at_last(self, column: str) -> float | None:
        """The column's value at the last tick that has one."""
        points = self.series(column)
        return points[-1][1] if points else None

    def clocks(self) -> dict[float, float]:
        """kimg → seconds of training until there, for each tick; empty when they were not recorded."""
        recorded = self.cost.get("tick_seconds")
        if not isinstance(recorded, list) or len(recorded) < len(self.ticks):
            return {}
        pairs = [(number(tick.get("kimg")), number(at)) for tick, at in zip(self.ticks, recorded, strict=False)]
        return {kimg: at for kimg, at in pairs if kimg is not None and at is not None}

    @property
    def raised(self) -> dict[str, str]:
        """The flags that stand: `collapsed_effnet_lite0` → why."""
        return {name: str(flag.get("why") or "") for name, flag in self.flags.items() if flag.get("flag")}

    @property
    def command(self) -> str:
        return f"dvc repro train@{self.key}"


@dataclass
class Version:
    """A node of the family tree with its runs, one a seed; unlisted ancestors have none."""

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
    pinned_lr: bool
    fingerprint: str = ""
    """Of the resolved recipe, the protocol and the code that it trains with."""
    runs: list[Run] = field(default_factory=list)
    children: list[Version] = field(default_factory=list)

    def values(self, metric: str) -> dict[int, float]:
        """Seed → value, of the seeds that have one."""
        return {run.seed: run.metrics[metric] for run in self.runs if metric in run.metrics}

    def mean(self, metric: str) -> float | None:
        """Mean over the seeds that have the metric, the geometric one where the metric is compared on the logarithm."""
        values = list(self.values(metric).values())
        if not values:
            return None
        geometric = scale(metric) == "log" and min(values) > 0
        return math.exp(fmean(map(math.log, values))) if geometric else fmean(values)

    def cost(self, key: str) -> float | None:
        """Plain mean over seeds of a number in cost/train.json."""
        values = [value for run in self.runs if (value := number(run.cost.get(key))) is not None]
        return fmean(values) if values else None

    def at_best_and_last(self, column: str) -> tuple[float | None, float | None]:
        """Plain means over seeds of the tracker's value at the best checkpoint and at the last one."""
        best = [value for run in self.runs if (value := number(run.best.get("score"))) is not None]
        last = [value for run in self.runs if (value := run.at_last(column)) is not None]
        return fmean(best) if best else None, fmean(last) if last else None

    @property
    def raised(self) -> dict[str, list[Run]]:
        """Kind of flag (`collapsed`, `memorised`) → the runs on which one of its extractors raised it."""
        kinds: dict[str, list[Run]] = {}
        for run in self.runs:
            for kind in dict.fromkeys(name.partition("_")[0] for name in run.raised):
                kinds.setdefault(kind, []).append(run)
        return kinds

    @property
    def troubles(self) -> list[Run]:
        return [run for run in self.runs if run.status != "finished"]


@dataclass
class Findings:
    """Everything the report says, before it is laid out."""

    root: Path
    versions: list[Version]
    seeds: list[int]
    dataset: Json
    train: Json
    sample: Json
    evaluate: Json
    manifest: Json
    anchors: dict[str, dict[str, float]]
    anchors_described: dict[str, str]
    gaps: list[Gap]

    @property
    def listed(self) -> list[Version]:
        return [version for version in self.versions if version.listed]

    @property
    def roots(self) -> list[Version]:
        names = {version.name for version in self.versions}
        return [version for version in self.versions if version.parent not in names]

    @property
    def runs(self) -> list[Run]:
        return [run for version in self.listed for run in version.runs]

    @property
    def tracker(self) -> str:
        """The column of metrics.jsonl by which `best` was picked."""
        return f"fd_{self.train.get('tracker', 'pixel8')}"

    @property
    def metrics(self) -> list[str]:
        """Measured metrics: the tracker's distance first, then those that the plan asks for, then any others."""
        asked = [self.lead, "fid"]
        for extractor in self.evaluate.get("extractors", []):
            asked += [f"fd_{extractor}", f"kid_{extractor}"]
        measured = {name for run in self.runs for name in run.metrics if not name.endswith("_se")}
        return [name for name in dict.fromkeys(asked) if name in measured] + sorted(measured - set(asked))

    @property
    def lead(self) -> str:
        """The metric that stands in the tree: the tracker's, which the protocol chose to fit its budget."""
        protocols: Json = {}
        for run in self.runs:
            protocols |= run.protocols
        return lead(self.tracker.removeprefix("fd_"), protocols)

    def passed(self, version: Version, metric: str) -> bool | None:
        """Whether the version's mean beats the mean image repeated; None when there is nothing to compare."""
        if not is_distance(metric):
            return None
        value, anchor = version.mean(metric), self.anchors.get(metric, {}).get("mean_image")
        return None if value is None or anchor is None else value < anchor


def number(value: Any) -> float | None:
    """A finite number, or None: NaN and Infinity are not results."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
