"""Read a run directory: parameters, metrics by step, pictures and files, as MLflow displays them. No MLflow here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError

STAGES = ("train", "sample", "evaluate")
COSTS = ("seconds", "images_per_second", "peak_memory_bytes")
FILES = (
    "train/run.json",
    "train/metrics.jsonl",
    "sample/grid.png",
    "sample/strip.png",
    "sample/walk.webp",
    "sample/sample.json",
    "evaluate/metrics.json",
)


@dataclass(frozen=True)
class RunRecord:
    """The content of a run directory at the time of reading."""

    directory: Path
    run: dict[str, Any]
    """train/run.json"""
    ticks: list[dict[str, Any]]
    """train/metrics.jsonl"""
    costs: dict[str, dict[str, Any]]
    """cost/<stage>.json, by stage"""
    sample: dict[str, Any] | None
    """sample/sample.json"""
    evaluation: dict[str, Any] | None
    """evaluate/metrics.json"""

    @property
    def key(self) -> str:
        """The run key, digest of plan, data and seed: the same training has the same MLflow run, in any directory."""
        return str(self.run["key"])

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
        return flatten(self.run["recipe"]) | flatten(self.run["protocol"], "protocol.")

    @property
    def final_metrics(self) -> dict[str, float]:
        """The metrics with one value per run: evaluation, tracker's score of the best checkpoint, costs.

        Prefixes separate the evaluation from the tracker, whose metrics have the same names but other images. The UI
        makes a section of each prefix.
        """
        metrics: dict[str, Any] = {}
        if self.evaluation:
            metrics |= {f"evaluate/{name}": value for name, value in self.evaluation["metrics"].items()}
        best = self.run.get("best")
        if best and self.status != "running":  # during the training the curve shows it
            metrics |= {"train_best/kimg": best["kimg"], f"train_best/fd_{self.run['tracker']}": best["score"]}
        for stage, cost in self.costs.items():
            metrics |= {f"usage/{stage}_{name}": cost[name] for name in COSTS if name in cost}
        return {name: float(value) for name, value in metrics.items() if is_number(value)}

    @cached_property
    def grids(self) -> dict[int, Path]:
        """The sample grids by step."""
        paths = sorted(self.directory.glob("train/grids/*.png"))
        return {int(path.stem): path for path in paths if path.stem.isdigit()}

    @property
    def files(self) -> dict[str, Path]:
        """The files to attach, by path in the run directory; empty while the training runs."""
        if self.status == "running":
            return {}
        return {name: self.directory / name for name in FILES if (self.directory / name).is_file()}

    @property
    def weights(self) -> Path | None:
        """The weights that drew the samples; None unless the training has finished."""
        checkpoint = (self.sample or {}).get("checkpoint", "best")
        path = self.directory / "train" / "weights" / f"generator-{checkpoint}.safetensors"
        return path if self.status == "finished" and path.is_file() else None

    def time_ms(self, step: int | None = None) -> int:
        """Return when the run reached `step` (None: its newest state), in ms since 1970, from the files' times."""
        path = self.grids.get(step) if step is not None else None
        return int((path or self.directory / "train" / "run.json").stat().st_mtime * 1000)

    @property
    def start_ms(self) -> int:
        """Start of the training, in ms since 1970."""
        seconds = self.costs.get("train", {}).get("seconds")
        first = self.time_ms(min(self.grids)) if self.grids else self.time_ms()
        return self.time_ms() - int(seconds * 1000) if seconds and self.status != "running" else first


def read(directory: Path) -> RunRecord:
    """Read a run directory.

    Raises: GanealogyError when run.json is absent or a file is damaged.
    """
    run = read_json(directory / "train" / "run.json")
    if run is None:
        raise GanealogyError(f"{directory}: no train/run.json; train the version first")
    missing = [key for key in ("key", "version", "seed", "status", "recipe", "protocol") if key not in run]
    if missing:
        raise GanealogyError(f"{directory}/train/run.json: lacks {', '.join(missing)}; train the version again")
    costs = {stage: read_json(directory / "cost" / f"{stage}.json") for stage in STAGES}
    return RunRecord(
        directory=directory,
        run=run,
        ticks=_read_ticks(directory / "train" / "metrics.jsonl"),
        costs={stage: cost for stage, cost in costs.items() if cost},
        sample=read_json(directory / "sample" / "sample.json"),
        evaluation=read_json(directory / "evaluate" / "metrics.json"),
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON mapping; return None if the file is absent.

    Raises: GanealogyError when it is not a JSON mapping.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise GanealogyError(f"{path}: not readable JSON ({error}); run its stage again") from None
    if not isinstance(content, dict):
        raise GanealogyError(f"{path}: expected a JSON mapping, found {type(content).__name__}; run its stage again")
    return content


def _read_ticks(path: Path) -> list[dict[str, Any]]:
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
        raise GanealogyError(f"{path}: damaged line ({error}); train the version again") from None


def tick_metrics(tick: dict[str, Any]) -> dict[str, float]:
    """Return a tick's numbers as `train/<name>`, without non-finite ones, which are null in the file."""
    numbers = {name: value for name, value in tick.items() if name not in ("tick", "step") and is_number(value)}
    return {f"train/{name}": float(value) for name, value in numbers.items()}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def flatten(mapping: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Map {"loss": {"name": "hinge"}} to {"loss.name": "hinge"}; other values than strings become JSON."""
    flat: dict[str, str] = {}
    for name, value in mapping.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
