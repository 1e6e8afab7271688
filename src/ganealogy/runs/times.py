"""How long runs take on this machine, from a few measured steps of each recipe.

A measurement is kept in build/times per recipe, settings of the machine and host, never in the plan: clocks must not
decide what runs again. Processor time is what the steps need; wall time follows from how many runs share the machine.
"""

from __future__ import annotations

import heapq
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganealogy.budget import step_count
from ganealogy.files import atomic
from ganealogy.files.records import RecordError, read_record
from ganealogy.params.schema import Train
from ganealogy.record_types import TrainingProtocol, VersionPlan
from ganealogy.runs.table import duration
from ganealogy.runtime import machine, process
from ganealogy.workspace import KEY_LENGTH, TIMES, main_root

BUDGET = ("kimg", "epochs", "ticks", "deterministic")
"""Keys of the protocol that change the number of steps, not what one takes."""
WORTH_IT = 10
"""A training of fewer than this many times the measured steps is not measured: it soon ends."""
STEPS, WARM_UP = 40, 8
"""Steps of a measurement, and how many of them are not counted: the first are slower."""


@dataclass(frozen=True)
class Seconds:
    """What a piece of work takes: processor time, and wall time beside as many others as fit."""

    cpu: float
    wall: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.cpu + other.cpu, self.wall + other.wall)

    def times(self, factor: float) -> Seconds:
        return Seconds(self.cpu * factor, self.wall * factor)


@dataclass(frozen=True)
class Measured:
    """A recipe on this machine."""

    start: Seconds
    """Until the first step: imports, data, networks."""
    step: Seconds
    tick: Seconds
    memory: int
    """Bytes of the process at its largest."""

    def training(self, protocol: TrainingProtocol, done: int = 0) -> Seconds:
        """Return what a training of this protocol takes after its first `done` steps."""
        steps = step_count(protocol)
        whole = self.step.times(steps) + self.tick.times(protocol["ticks"] + 1)
        return self.start + whole.times(1 - done / steps)

    @property
    def pace(self) -> float:
        """Wall time per processor time of a step: above 1 on a busy machine."""
        return self.step.wall / max(self.step.cpu, 1e-9)


def recipe_key(plan: VersionPlan, settings: Train) -> str:
    """Return the digest of all that decides how long a step takes here."""
    protocol = {name: value for name, value in plan["protocol"].items() if name not in BUDGET}
    return _key({"recipe": plan["recipe"], "protocol": protocol, "code": plan["code"]}, settings)


def stage_key(stage: str, plan: Mapping[str, Any], protocol: TrainingProtocol, settings: Train) -> str:
    """Return the digest of all that decides how long sampling or evaluating takes here."""
    shape = [protocol["image_size"], protocol["channels"], protocol["width"]]
    return _key({"stage": stage, "plan": plan["fingerprint"], "shape": shape}, settings)


def read_recipe(key: str) -> Measured | None:
    record = _read(key, ("start", "step", "tick", "memory"))
    if record is None:
        return None
    start, step, tick = (Seconds(**record[part]) for part in ("start", "step", "tick"))
    return Measured(start, step, tick, int(record["memory"]))


def read_stage(key: str) -> Seconds | None:
    record = _read(key, ("cpu", "wall"))
    return Seconds(float(record["cpu"]), float(record["wall"])) if record else None


def keep(key: str, measured: Measured | Seconds) -> None:
    atomic.write_json(_path(key), asdict(measured))


def makespan(seconds: Iterable[float], places: int) -> float:
    """Return when the last of these jobs ends, if `places` run at a time, in this order."""
    ends = [0.0] * max(1, places)
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def sentence(runs: Iterable[Seconds], places: int, gpus: int = 0) -> str:
    """Return such as `40 runs, 2 at a time: about 4 min 10 s (8 min 05 s of processor time)`."""
    runs = list(runs)
    wall = makespan([run.wall for run in runs], places)
    if gpus:
        cost = f"{wall * gpus / 3600:.2g} GPU-hours"
    else:
        cost = f"{duration(sum(run.cpu for run in runs))} of processor time"
    count = f"{len(runs)} run{'s'[: len(runs) > 1]}"
    return f"{count}, {min(places, len(runs))} at a time: about {duration(wall)} ({cost})"


def _key(content: Mapping[str, Any], settings: Train) -> str:
    host = [platform.node(), machine.cores(), process.threads(settings.threads), settings.device]
    host += [settings.runs_per_gpu, os.environ.get("GANEALOGY_JOBS")]
    return atomic.digest({**content, "host": host})


def _path(key: str) -> Path:
    return main_root() / TIMES / f"{key[:KEY_LENGTH]}.json"


def _read(key: str, keys: tuple[str, ...]) -> Any:
    try:
        return read_record(_path(key), "", keys)
    except RecordError:
        return None  # measured again
