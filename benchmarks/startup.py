"""Measure the overhead of the pipeline: the start of stages, a `dvc repro` with nothing to do, records, MLflow.

A stage's overhead is the time until it calls the function that does the work; `plan` and `--help` are whole processes.
The cost of records and checkpoints is measured inside a training, that of MLflow by a training with its process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import claims, family, pictures, workspace

from ganealogy.runtime import memory, process
from ganealogy.training import checkpoint, loop
from ganealogy.training.background_writer import BackgroundWriter
from ganealogy.training.run_files import RunFiles

UNTIL = Path(__file__).parent / "measuring" / "until"
STAGES = {  # verb → the function that is the work, its arguments
    "train": ("ganealogy.adversary.divergence:DivergenceCheck.check", ("v1",)),
    "sample": ("ganealogy.sampling.sample:sample", ("v1",)),
    "evaluate": ("ganealogy.evaluation.evaluate:evaluate", ("v1",)),
    "report": ("ganealogy.report.build:build", ()),
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=4)


def main() -> None:
    bench, given = claims.begin("Overhead", __doc__, options)
    rounds = 1 if bench.quick else given.rounds
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        small = workspace.Workspace(Path(folder) / "small", versions=1, seeds=1)
        starts(bench, small, rounds)
        tree = small if bench.quick else workspace.Workspace(Path(folder) / "tree", versions=8, seeds=5)
        nothing_to_do(bench, tree, min(rounds, 3))
        logging(bench, small, rounds)
    bench.finish()


def starts(bench: claims.Benchmark, place: workspace.Workspace, rounds: int) -> None:
    planning = claims.timed(lambda: place.ganealogy("plan"))
    for verb in ("download", "preprocess", "reference"):
        place.ganealogy(verb)
    for verb, (_, arguments) in STAGES.items():
        place.ganealogy(verb, *arguments)  # each round does one of them again, with the results of the others

    def until(verb: str) -> float:
        """Do the stage, whose earlier ones are done; return the seconds until the function is called."""
        function, arguments = STAGES[verb]
        mark = place.path / "mark"
        for old in ("store", "runs/v1"):
            shutil.rmtree(place.path / "build" / old / verb, ignore_errors=True)
        mark.unlink(missing_ok=True)
        marking = {"PYTHONPATH": f"src{os.pathsep}{UNTIL}", "GANEALOGY_UNTIL": f"{function}:{mark}"}
        began = time.monotonic()
        list(place.lines(sys.executable, "-m", "ganealogy", verb, *arguments, **marking))
        return float(mark.read_text()) - began

    contenders: dict[str, Callable[[], float]] = {
        "--help": lambda: claims.timed(lambda: place.ganealogy("--help")),
        "plan": lambda: planning if bench.quick else claims.timed(lambda: place.ganealogy("plan")),
        **{verb: partial(until, verb) for verb in STAGES},
    }
    seconds = claims.in_turns(contenders, rounds, warm_up=0)
    for name, values in seconds.items():
        bench.measured(name, statistics.median(values), "s", claims.spread(values))
    limits = {"--help": 0.3, "plan": 3.0, "train": 3.5, "report": 1.5}
    for name, limit in limits.items():
        bench.claim(f"{name}, until its work starts", statistics.median(seconds[name]), limit, "s", at_least=False)


def nothing_to_do(bench: claims.Benchmark, place: workspace.Workspace, rounds: int) -> None:
    place.pretend()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        output = place.dvc("repro")
        seconds.append(time.perf_counter() - began)
        if output.count("Running stage") != 1:  # `inputs` always runs
            raise RuntimeError(f"a stage ran:\n{output[-2000:]}")
    about = f"{len(place.versions)} versions x {len(place.seeds)} seeds, {place.stages} stages"
    bench.measured("dvc repro with nothing to do", statistics.median(seconds), "s", about)
    bench.claim(f"no-op dvc repro, {about}", statistics.median(seconds), 2, "s", at_least=False)


class Clocked:
    """Add up the seconds inside wrapped functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any], clock: Callable[[], float] = time.perf_counter) -> Callable[..., Any]:
        """`clock`: `time.thread_time` for background work, which costs the training its CPU time only."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += clock() - began

        return timed

    def waited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count the waiting time without the work that the other thread did and counted meanwhile."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began, counted = time.perf_counter(), self.seconds
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds = max(self.seconds, counted + time.perf_counter() - began)

        return timed


class Silent:
    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...
    def should_stop(self) -> bool:
        return False

    def on_warning(self, text: str) -> None: ...


def logging(bench: claims.Benchmark, place: workspace.Workspace, rounds: int) -> None:
    """Train v1 as in the demo: measure the share of records and checkpoints, and the cost of MLflow's process."""
    memory.keep_freed()
    memory.collect_rarely()
    torch.set_num_threads(process.threads(2))
    kimg, width, count, ticks = (0.128, 8, 200, 2) if bench.quick else (25.0, 32, 5400, 10)
    images = pictures.packed(count, 32)
    plan = family.plan("v1", image_size=32, batch_size=32, width=width, kimg=kimg, ticks=ticks)
    data = json.loads((place.path / "data" / "packed" / "manifest.json").read_text())["dataset"]
    shares = []

    def training(live: bool) -> float:
        from ganealogy.tracking.live_sync import LiveSync

        writing = Clocked()
        with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder, contextlib.ExitStack() as stack:
            work = Path(folder) / "wip" / "v1"
            stack.enter_context(contextlib.chdir(place.path))  # where MLflow's process reads the plan
            stack.callback(os.environ.pop, "DVC_ROOT", None)
            os.environ["DVC_ROOT"] = folder
            facts = {"version": "v1", "seed": 0, "parent": None, "plan": "", "data": data, "key": "v1", **plan}
            files = RunFiles(work / "train", work / "checkpoints", facts)
            files.append_tick = writing.wrap(files.append_tick, time.thread_time)  # type: ignore[method-assign]
            files.write_status = writing.wrap(files.write_status)  # type: ignore[method-assign]
            for owner, name, wrap in (
                (checkpoint, "save", partial(writing.wrap, clock=time.thread_time)),
                (checkpoint, "snapshot", writing.wrap),
                (BackgroundWriter, "wait", writing.waited),
            ):
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, wrap(getattr(owner, name)))
            if live:
                stack.enter_context(LiveSync(work, start_after_s=0.0))
            outcome = loop.train(plan, 0, loop.TrainingData(images), files, "cpu", Silent())
        if not live:
            shares.append(writing.seconds / outcome.seconds)
        return outcome.seconds

    # Real trainings are longer and start the process after a minute; its imports cost three CPU seconds once.
    posting = training(True)
    seconds = [training(False) for _ in range(min(rounds, 2))]
    alone, share = statistics.median(seconds), 100 * statistics.median(shares)
    bench.measured("a training, MLflow off", alone, "s", claims.spread(seconds))
    bench.measured("a training, MLflow's process from its start", posting, "s")
    bench.measured("the process's cost", 100 * (posting / alone - 1), "%", "of this short run, once")
    per_tick = alone * share / 100 / (ticks + 1)
    bench.measured("records and checkpoint per tick", per_tick * 1000, "ms", f"{ticks} ticks in {kimg:g} kimg")
    bench.claim("records and checkpoints, share of a training with the demo's ticks", share, 2, "%", at_least=False)


if __name__ == "__main__":
    main()
