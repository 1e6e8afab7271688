"""Read a run directory: parameters, metrics by step, pictures and files, as MLflow displays them. No MLflow here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ganealogy.errors import GanealogyError, Remedy
from ganealogy.files.records import read_record
from ganealogy.lineage.flatten import as_text, flatten
from ganealogy.record_types import CostJson, MetricsJson, RunJson, SampleJson
from ganealogy.workspace import RUN_STAGES, UNFINISHED, RunDir

Tick: TypeAlias = "dict[str, Any]"
"""A line of metrics.jsonl: tick, step, kimg, epoch, d_images, losses and scores."""

DISTANCE = "distance"
"""Prefix of the leading metric."""
CLOCKS = ("kimg", "epoch", "d_images")
COSTS = ("seconds", "images_per_second", "peak_memory_bytes")
FILES = (
    "train/run.json",
    "train/metrics.jsonl",
    "sample/grid.png",
    "sample/classes.png",
    "sample/strip.png",
    "sample/walk.webp",
    "sample/sample.json",
    "evaluate/metrics.json",
)


@dataclass(frozen=True)
class RunRecord:
    """The content of a run directory at the time of reading."""

    directory: RunDir
    run: RunJson
    """train/run.json"""
    ticks: list[Tick]
    """train/metrics.jsonl"""
    costs: dict[str, CostJson]
    """The cost files, by stage"""
    sample: SampleJson | None
    """sample/sample.json"""
    evaluation: MetricsJson | None
    """evaluate/metrics.json"""

    @property
    def key(self) -> str:
        """The run key, digest of plan, data and seed: the same training has the same MLflow run, in any directory."""
        return str(self.run["key"])

    @property
    def class_names(self) -> list[str]:
        """Of a conditional generator; empty without names."""
        return list(self.sample.get("class_names", [])) if self.sample else []

    @property
    def title(self) -> str:
        return f"{self.run['version']} seed {self.run['seed']}"

    @property
    def status(self) -> str:
        return str(self.run["status"])

    @property
    def stage(self) -> str:
        """The last stage whose results are present."""
        return "evaluate" if self.evaluation else "sample" if self.sample else "train"

    @property
    def parameters(self) -> dict[str, str]:
        """The resolved recipe by dotted key, and the protocol by `protocol.` and dotted key."""
        flat = flatten(self.run["recipe"]) | flatten(self.run["protocol"], "protocol")
        return {key: as_text(value) for key, value in flat.items()}

    @property
    def lead(self) -> dict[str, float]:
        """The leading metric: name → value; empty without a number."""
        name = self.evaluation["lead"] if self.evaluation else ""
        value: Any = self.evaluation["metrics"].get(name) if self.evaluation else None
        return {name: float(value)} if is_number(value) else {}

    @property
    def summary(self) -> str:
        """The run and its leading metric in one line, in Markdown: `**v3 seed 1: fd_pixel8 123.5**`."""
        metric = "".join(f": {name} {value:.4g}" for name, value in self.lead.items())
        return f"**{self.title}{metric}**"

    @property
    def final_metrics(self) -> dict[str, float]:
        """The metrics with one value per run: evaluation, also of the other checkpoint, tracker's best score, costs.

        Prefixes separate the evaluation from the tracker, whose metrics have the same names but other images. The UI
        makes a section of each prefix, sorted by name: `distance`, which has the leading metric alone, is the first.
        """
        metrics: dict[str, Any] = {f"{DISTANCE}/{name}": value for name, value in self.lead.items()}
        if self.evaluation:
            metrics |= {f"evaluate/{name}": value for name, value in self.evaluation["metrics"].items()}
            if other := self.evaluation.get("other"):
                metrics |= {f"evaluate_{other['checkpoint']}/{name}": value for name, value in other["metrics"].items()}
        best = self.run.get("best")
        if best and self.status != "running":  # during the training the curve shows it
            metrics |= {"train_best/kimg": best["kimg"], f"train_best/fd_{self.run['tracker']}": best["score"]}
        for stage, cost in self.costs.items():
            metrics |= {f"usage/{stage}_{name}": value for name, value in cost.items() if name in COSTS}
        return {name: float(value) for name, value in metrics.items() if is_number(value)}

    @cached_property
    def grids(self) -> dict[int, Path]:
        """The sample grids by step."""
        paths = sorted((self.directory / "train/grids").glob("*.png"))
        return {int(path.stem): path for path in paths if path.stem.isdigit()}

    @property
    def files(self) -> dict[str, Path]:
        """The files to attach, by path in MLflow; empty while the training runs."""
        if self.status == "running":
            return {}
        return {
            name: self.directory / name for name in FILES if (self.directory / name).is_file()
        } | self.discriminators

    @property
    def discriminators(self) -> dict[str, Path]:
        """The weights of D, such as `weights/discriminator-last.safetensors`; empty without a D or while it trains."""
        if self.status == "running" or self.run["recipe"].get("discriminator", {}) is None:
            return {}
        paths = sorted((self.directory / "train/weights").glob("discriminator-*.safetensors"))
        return {f"weights/{path.name}": path for path in paths}

    @property
    def checkpoint(self) -> str:
        """Which generator drew the samples: `best` or `last`."""
        return self.sample["checkpoint"] if self.sample else "last"

    @property
    def reached(self) -> tuple[int, float]:
        """Step and kimg of that generator."""
        best = self.run["best"] if self.checkpoint == "best" else None
        return (best["step"], best["kimg"]) if best else (self.run["steps"], self.run["kimg"])

    @property
    def weights(self) -> Path | None:
        """The weights that drew the samples; None unless the training has finished or was stopped."""
        path = self.directory / f"train/weights/generator-{self.checkpoint}.safetensors"
        return path if self.status in ("finished", "stopped") and path.is_file() else None

    def time_ms(self, step: int | None = None) -> int:
        """Return when the run reached `step` (None: its newest state), in ms since 1970, from the files' times.

        It is at least 1, because MLflow takes no negative times, and 0 for now.
        """
        path = self.grids.get(step) if step is not None else None
        return max(1, int((path or self.directory / "train/run.json").stat().st_mtime * 1000))

    @property
    def start_ms(self) -> int:
        """Start of the training, in ms since 1970."""
        seconds = self.costs.get("train", {}).get("seconds")
        first = self.time_ms(min(self.grids)) if self.grids else self.time_ms()
        return max(1, self.time_ms() - int(seconds * 1000)) if seconds and self.status != "running" else first


def read(directory: RunDir) -> RunRecord:
    """Read the files of a run.

    Raises: GanealogyError when run.json is absent or a file is damaged.
    """
    keys = ("key", "version", "seed", "status", "recipe", "protocol")
    run = read_record(directory / "train/run.json", again(directory, "train"), keys)
    costs = {stage: read_json(directory.costs[stage], again(directory, stage)) for stage in RUN_STAGES}
    return RunRecord(
        directory=directory,
        run=run,
        ticks=_read_ticks(directory / "train/metrics.jsonl", damaged(directory, "train")),
        costs={stage: cost for stage, cost in costs.items() if cost},
        sample=read_json(directory / "sample/sample.json", again(directory, "sample"), ("checkpoint",), SampleJson),
        evaluation=read_json(
            directory / "evaluate/metrics.json",
            again(directory, "evaluate"),
            ("metrics", "protocol", "lead"),
            MetricsJson,
        ),
    )


def again(directory: RunDir, stage: str) -> str | Remedy:
    """Return what makes a file of the run again, for an error message."""
    if directory.version == UNFINISHED:
        return "run `dvc repro`, which trains it again"
    return Remedy(f"{stage}@{directory.version}")


def damaged(directory: RunDir, stage: str) -> str:
    """Return what makes a damaged file of the run again."""
    remedy = again(directory, stage)
    return remedy.damaged if isinstance(remedy, Remedy) else remedy


def read_json(path: Path, hint: str | Remedy, keys: tuple[str, ...] = (), kind: Any = None) -> Any:
    """Read a record that has `keys`, of type `kind`; return None if the file is absent.

    Raises: GanealogyError when it is damaged, which ends with `hint`.
    """
    return read_record(path, hint, keys, kind) if path.exists() else None


def _read_ticks(path: Path, hint: str) -> list[Tick]:
    """Read the complete lines: the training may be writing the last one.

    Raises: GanealogyError when a line is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    try:
        ticks = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [{**tick, "step": int(tick["step"]), "kimg": float(tick["kimg"])} for tick in ticks]
    except (ValueError, TypeError, KeyError) as error:
        raise GanealogyError(f"{path}: damaged line ({error}); {hint}") from None


def tick_metrics(tick: Tick) -> dict[str, float]:
    """Return a tick's numbers as `train/<name>`, without non-finite ones, which are null in the file.

    A run's page has them in this order: the tracker's distances, losses and scores, then what only measures progress.
    """
    names = [name for name, value in tick.items() if name not in ("tick", "step") and is_number(value)]
    names.sort(key=lambda name: (name in CLOCKS, not name.startswith("fd_")))
    return {f"train/{name}": float(tick[name]) for name in names}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
