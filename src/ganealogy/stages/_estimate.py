"""Measure a few steps of each recipe before anything trains, and say how long the runs will take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ganealogy.budget import resolve, step_count
from ganealogy.errors import Remedy
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.params.budget_text import packed_pictures
from ganealogy.params.schema import Settings, Train
from ganealogy.record_types import ManifestJson, StagePlan, VersionPlan
from ganealogy.runs import continuing, store, times
from ganealogy.runs.times import Measured, Seconds
from ganealogy.runtime import machine, process
from ganealogy.runtime.memory import peak as peak_memory
from ganealogy.runtime.workers import SendProgress
from ganealogy.stages import _stage
from ganealogy.stages._jobs import Job
from ganealogy.workspace import MANIFEST, PACKED, REFERENCE, RunDir, plan_path, stage_plan_path

MEASURING = ("sample", "evaluate")


@dataclass(frozen=True)
class Measurement:
    """A job: measure the steps of a version, and with `stages` also sampling and evaluating its pictures."""

    version: str
    stages: bool

    @property
    def name(self) -> str:
        return f"measure-{self.version}"


def missing(jobs: Iterable[Job], settings: Settings) -> list[Measurement]:
    """Return what to measure before these jobs: recipes of long trainings that were not measured on this machine."""
    found = []
    stages = MANIFEST.is_file() and any(_stage_seconds(stage, settings) is None for stage in MEASURING)
    for version in dict.fromkeys(job.version for job in jobs if "train" in job.stages):
        plan, recipe = _recipe(version, settings)
        alike = plan["recipe"]["adversary"]["game"].get("by") != "epochs"  # else whole epochs of D are in few steps
        steps = step_count(plan["protocol"]) if alike and "kimg" in plan["protocol"] else 0
        if steps >= times.WORTH_IT * times.STEPS and recipe is None:
            found.append(Measurement(version, stages=stages and any("evaluate" in job.stages for job in jobs)))
            stages = False  # it takes the same for all versions
    return found


def expected(
    jobs: Sequence[Job], settings: Settings, pace: float = 1.0, done: Mapping[str, int] | None = None
) -> dict[str, Seconds]:
    """Return job → what its stages take, for the jobs of which that is known.

    `pace`: wall time per processor time at present. A measurement may be of a busier or calmer day. `done`: see
    `continued`.
    """
    done = done or {}
    known: dict[str, Seconds] = {}
    on_gpu = settings.train.device != "cpu" and bool(machine.gpus())
    one_thread = not on_gpu and process.threads(settings.train.threads) == 1  # its wall time is processor time × pace
    recipes = {version: _recipe(version, settings) for version in {job.version for job in jobs}}
    others = {stage: _stage_seconds(stage, settings) for stage in MEASURING}
    for job in jobs:
        plan, recipe = recipes[job.version]
        protocol = plan["protocol"]
        training = recipe.training(protocol, done.get(job.name, 0)) if recipe and "kimg" in protocol else None
        parts = [training if stage == "train" else others[stage] for stage in job.stages]
        if all(parts):
            whole = sum(cast("list[Seconds]", parts), Seconds(0, 0))
            known[job.name] = Seconds(whole.cpu, whole.cpu * pace) if one_thread else whole
    return known


def continued(jobs: Iterable[Job], settings: Settings) -> dict[str, int]:
    """Return job → steps that it does not train, of jobs that continue a training of the store."""
    from ganealogy.stages.train import run_identity

    jobs = [job for job in jobs if "train" in job.stages]
    if not jobs or not MANIFEST.is_file():
        return {}
    manifest: ManifestJson = read_record(MANIFEST, Remedy("preprocess"), ("dataset",))
    entries, found = list(store.entries(stages=("train",))), dict[str, int]()
    plans = {version: _recipe(version, settings)[0] for version in {job.version for job in jobs}}
    for job in jobs:
        plan = plans[job.version]
        if "kimg" in plan["protocol"]:
            fitting, _ = continuing.choose(plan, run_identity(plan, job.seed, manifest, job.vary), entries)
            found |= {job.name: fitting[0].run["steps"]} if fitting else {}
    return found


def pace(measurements: Iterable[Measurement], settings: Settings) -> float:
    """Return the mean wall time per processor time of measurements that were made just now."""
    recipes = [_recipe(measurement.version, settings)[1] for measurement in measurements]
    paces = [recipe.pace for recipe in recipes if recipe]
    return sum(paces) / len(paces) if paces else 1.0


def memory(jobs: Iterable[Job], settings: Settings) -> int | None:
    """Return the bytes of the largest of these runs; None if none was measured."""
    recipes = [_recipe(version, settings)[1] for version in {job.version for job in jobs}]
    return max((recipe.memory for recipe in recipes if recipe), default=None)


def measure(job: Measurement, send_progress: SendProgress) -> None:
    """Train some steps in a temporary folder, in a worker, and keep what they took."""
    from ganealogy.runtime.accelerator import synchronize
    from ganealogy.stages import train
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles

    settings = schema.load()
    plan = _stage.read_plan(plan_path(job.version), VersionPlan)
    device = _stage.setup_device(settings.train)
    budget = {"kimg": times.STEPS * plan["protocol"]["batch_size"] / 1000, "ticks": 1}
    rest = {key: value for key, value in plan["protocol"].items() if key != "epochs"}
    short = cast(VersionPlan, {**plan, "protocol": {**rest, **budget}})
    data, clock = train.open_data(plan), _Clock(lambda: synchronize(device))
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir.below(Path(folder), job.version, 0)
        files = RunFiles(run / "train", Path(folder) / "checkpoints", train.run_identity(short, 0, {"dataset": ""}))
        outcome = loop.train(short, 0, data, files, device, clock)
        end = _now()
        if outcome.status != "finished":
            return  # it diverged at once; the training itself will say so
        measured = clock.measured(end)
        times.keep(times.recipe_key(plan, settings.train), measured)
        if job.stages:
            for stage in MEASURING:
                _measure_stage(stage, run, device, settings.train)


def _measure_stage(stage: str, run: RunDir, device: str, train: Train) -> None:
    from ganealogy.evaluation import evaluate
    from ganealogy.sampling import sample

    plan = _stage.read_plan(stage_plan_path(stage), StagePlan)
    began = _now()
    if stage == "sample":
        sample.sample(run, plan["settings"], device=device)
    else:
        evaluate.evaluate(run, plan["settings"], REFERENCE, PACKED, device=device)
    protocol = _stage.read_plan(plan_path(run.version), VersionPlan)["protocol"]
    times.keep(times.stage_key(stage, plan, protocol, train), _between(began, _now()))


class _Clock:
    """The training's callbacks: note when each step ends; on a GPU, the two between which `measured` counts."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        """`synchronize`: wait for the device, which may be many steps behind."""
        self.synchronize = synchronize
        self.born, self.ends = Seconds(time.process_time(), time.monotonic()), [Seconds(0, 0)]

    def on_start(self, step: int, steps: int) -> None:
        self.ends = [_now()]

    def on_step(self, step: int, scalars: Mapping[str, float] | None) -> None:
        if step in (times.WARM_UP, times.STEPS - 1):
            self.synchronize()
        self.ends.append(_now())

    def on_warning(self, text: str) -> None:
        pass

    def should_stop(self) -> bool:
        return False

    def measured(self, end: Seconds) -> Measured:
        """Return the means. The last step contains a tick; the time before the first step contains one, too."""
        last = times.STEPS - 1
        step = _between(self.ends[times.WARM_UP], self.ends[last]).times(1 / (last - times.WARM_UP))
        tick = _less(_between(self.ends[last], end), step)
        start = _less(Seconds(self.ends[0].cpu, self.ends[0].wall - self.born.wall), tick)
        return Measured(start, step, tick, peak_memory())


def _now() -> Seconds:
    return Seconds(time.process_time(), time.monotonic())


def _between(first: Seconds, second: Seconds) -> Seconds:
    return Seconds(second.cpu - first.cpu, second.wall - first.wall)


def _less(whole: Seconds, part: Seconds) -> Seconds:
    return Seconds(max(0.0, whole.cpu - part.cpu), max(0.0, whole.wall - part.wall))


def _recipe(version: str, settings: Settings) -> tuple[VersionPlan, Measured | None]:
    """Return the plan, with `kimg` in its protocol if the training pictures are counted, and the measurement."""
    plan = _stage.read_plan(plan_path(version), VersionPlan)
    protocol = resolve(plan["protocol"], packed_pictures(settings.dataset.model_dump()))
    return {**plan, "protocol": protocol}, times.read_recipe(times.recipe_key(plan, settings.train))


def _stage_seconds(stage: str, settings: Settings) -> Seconds | None:
    plan = _stage.read_plan(stage_plan_path(stage), StagePlan)
    protocol: Any = {**settings.dataset.model_dump(), **settings.train.model_dump()}
    return times.read_stage(times.stage_key(stage, plan, protocol, settings.train))
