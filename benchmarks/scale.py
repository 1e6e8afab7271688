"""Measure `ganealogy repro`: the scheduler's overhead per task, and the gain of runs side by side on this machine.

Uses the real scheduler on a real Ray, with stubs of known length instead of trainings, without DVC or git. growth.py
measures DVC's lock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from measuring import claims, memory, workspace

from ganealogy.cluster import remote_run

BUNDLE_BYTES = 1_500_000
"""Size of this repository's bundle."""
SEEDS = 10
LENGTHS = 0.5, 1.5
"""Range of the stubs' lengths relative to their mean, as versions differ in training time."""
DVC_BEGAN = re.compile(r"Running stage '(\w+)(?:@([\w-]+))?'")
RUN_STATE = re.compile(r"([\w-]+): (\w+)(?: on \S+)?$")
"""A line of `ganealogy repro` about the state of a run."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=10_000, help="stub runs in the longest queue")
    parser.add_argument("--seeds", type=int, default=2, help="real trainings of v1, one per seed")
    parser.add_argument("--kimg", type=float, default=25, help="their length; the demo's is 25")
    parser.add_argument("--no-speed", action="store_true", help="only the scheduler")
    parser.add_argument("--stubs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lasting", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)


def main() -> None:
    bench, given = claims.begin("Many runs side by side", __doc__, options)
    if given.stubs:
        print(json.dumps(scheduled(given.stubs, given.lasting, given.seconds)))
        return
    scheduling(bench, given.tasks)
    if not given.no_speed:
        speed(bench, given.seeds, given.kimg)
    bench.note("DVC's lock, rewritten at each stage: see growth.py")
    bench.finish()


def scheduling(bench: claims.Benchmark, most: int) -> None:
    """Time stubs of length zero, which is the overhead of scheduler and Ray; then stubs of known lengths.

    The ideal makespan is the sum of the lengths over the number of places.
    """
    counts = (20,) if bench.quick else sorted({min(100, most), min(1_000, most), most})
    lasting, seconds = (4, 0.05) if bench.quick else (60, 1.0)
    found = {count: alone(count, (lasting, seconds) if count == counts[0] else (0, 0.0)) for count in counts}
    for count, result in found.items():
        detail = (
            f"{result['seconds']:.1f} s, {result['jobs']} at a time; the driver: {1000 * result['cpu'] / count:.1f} ms "
            f"of CPU time per task, {result['before_mib']:.0f} MiB before, {result['peak_mib']:.0f} at the peak"
        )
        bench.measured(f"overhead per task, {count:,} tasks", each(result, count), "ms", detail)
    few, many = counts[0], counts[-1]
    if many > few:
        seen = min(many, 1_000)
        drawn = each(alone(seen, terminal=True), seen)
        bench.measured(f"overhead per task on a terminal, {seen:,} tasks", drawn, "ms", "a table instead of lines")
        busy = 60_000 / each(found[many], many)
        bench.note(f"At that rate one driver can feed {busy:,.0f} places with runs of a minute each")
    first = found[few]
    stubs = f"{lasting} stubs of {first['shortest']:.2f} to {first['longest']:.2f} s, {first['jobs']} at a time"
    bench.measured("makespan", first["makespan"], "s", f"{stubs}; ideal {first['ideal']:.1f} s")
    bench.measured("Ray's start, until the end of the first task", first["start"], "s")
    bench.claim(f"overhead per task, {many:,} tasks", each(found[many], many), 100, "ms", at_least=False)
    bench.claim("makespan against the ideal", first["makespan"] / first["ideal"], 1.05, at_least=False)
    gained = found[many]["peak_mib"] - found[many]["before_mib"]
    bench.claim(f"driver memory growth with {many:,} tasks", gained, 512, "MiB", at_least=False)


def each(result: dict[str, Any], count: int) -> float:
    return 1000 * float(result["seconds"]) / count


def alone(count: int, lasting: tuple[int, float] = (0, 0.0), terminal: bool = False) -> dict[str, Any]:
    """Run the stubs in their own process, so that its memory is counted alone. Their output is discarded."""
    command = [sys.executable, __file__, "--stubs", str(count), "--lasting", str(lasting[0])]
    command += ["--seconds", str(lasting[1])]
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    if terminal:
        environment |= {"FORCE_COLOR": "1", "COLUMNS": "160", "LINES": "50"}
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        if done.returncode:
            errors.seek(0)
            raise RuntimeError(f"{count} stubs ended with {done.returncode}:\n{errors.read()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def scheduled(count: int, lasting: int, seconds: float) -> dict[str, Any]:
    """Run `count` stubs of length zero through the scheduler, then `lasting` stubs of `seconds` on average."""
    from ganealogy.cluster import ray_cluster, scheduler

    chance = random.Random(0)
    lengths = [seconds * chance.uniform(*LENGTHS) for _ in range(lasting)]
    began = time.perf_counter()
    with ray_cluster.connected(None, dashboard=False) as ray, tempfile.TemporaryDirectory() as folder:
        room = ray_cluster.allocate(ray_cluster.cluster_resources(ray), None, threads=1, gpus_per_run=0)

        def drive(lengths: list[float]) -> float:
            orders = [order(f"v{n // SEEDS}-{n % SEEDS}", length) for n, length in enumerate(lengths)]
            began = time.perf_counter()
            problems = scheduler.run_jobs(ray, orders, bytes(BUNDLE_BYTES), room, Path(folder), stub)
            if problems:
                raise RuntimeError(f"{len(problems)} stubs failed, such as {next(iter(problems.items()))}")
            return time.perf_counter() - began

        drive([0.0] * room.jobs)
        start = time.perf_counter() - began
        before, cpu = memory.mib("VmRSS"), time.process_time()
        taken = drive([0.0] * count)
        found = {"seconds": taken, "cpu": time.process_time() - cpu, "jobs": room.jobs, "start": start}
        found |= {"before_mib": before, "peak_mib": memory.mib("VmHWM")}
        if lengths:
            found |= {"ideal": max(sum(lengths) / room.jobs, max(lengths)), "makespan": drive(lengths)}
            found |= {"shortest": min(lengths), "longest": max(lengths)}
    return found


def order(run: str, seconds: float) -> remote_run.Job:
    """Return a job as `ganealogy repro` creates it."""
    return remote_run.Job(
        project="scale",
        run=run,
        ref="refs/ganealogy/repro",
        config="[cache]\n    dir = somewhere\n",
        cache_placeholder="somewhere",
        cache=None,
        workspace=None,
        remote="store",
        key="0" * 64,
        environment={"STUB_SECONDS": str(seconds)},
    )


def stub(order: remote_run.Job, bundle: bytes, board: Any) -> remote_run.Result:
    """Log the lines of a run, and sleep instead of training."""
    node = socket.gethostname()
    lines = ["clone", "data", *(f"Running stage '{stage}@{order.run}':" for stage in remote_run.STAGES), "push"]
    for line in lines:
        board.log.remote(order.run, node, line)
        if "'train@" in line:
            time.sleep(float(order.environment["STUB_SECONDS"]))
    return remote_run.Result(order.run, node, 0.0, None)


@dataclass
class Taken:
    whole: float = 0.0
    """Seconds of the command."""
    stages: list[tuple[float, float]] = field(default_factory=list)
    """When each train stage began and ended."""
    loops: list[float] = field(default_factory=list)
    """Seconds of each training, without the start of its process."""

    @property
    def training(self) -> float:
        """Seconds in which at least one train stage was running."""
        total, until = 0.0, 0.0
        for began, ended in sorted(self.stages):
            total += max(0.0, ended - max(began, until))
            until = max(until, ended)
        return total


def speed(bench: claims.Benchmark, seeds: int, kimg: float) -> None:
    """Train the same tree three ways: in sequence with one thread, two side by side, in sequence with two threads."""
    seeds, kimg = (1, 0.032) if bench.quick else (seeds, kimg)
    jobs = 1 if bench.quick else 2
    protocol = workspace.PROTOCOL
    if not bench.quick:
        demo = yaml.safe_load((claims.ROOT / "presets" / "demo.yaml").read_text())
        protocol = {**protocol, "train": demo["train"], "dataset": {**demo["dataset"], "count": 2000}}
    train = {**protocol["train"], "kimg": kimg, "threads": 1, "device": "cpu"}
    repro = (sys.executable, "-m", "dvc", "repro")
    side_by_side = (sys.executable, "-m", "ganealogy", "repro", "--jobs", str(jobs), "--no-dashboard")
    contenders = {
        "one after another, one thread": (1, repro),
        f"ganealogy repro --jobs {jobs}, one thread each": (1, side_by_side),
        "dvc repro, two threads": (2, repro),
    }
    if bench.quick:
        del contenders["dvc repro, two threads"]
    found = {}
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        ready = workspace.Workspace(
            Path(folder) / "ready", versions=1, seeds=seeds, protocol={**protocol, "train": train}
        )
        ready.dvc("repro", "reference")
        for name, (threads, command) in contenders.items():
            place = ready.copy(Path(folder) / str(len(found)))
            found[name] = repeated(place, command, threads)
            shutil.rmtree(place.path)
    for name, taken in found.items():
        loops = " to ".join(claims.shown(pick(taken.loops)) for pick in (min, max))
        detail = f"{seeds} of v1, {loops} s without their processes' start; the whole command {taken.whole:.0f} s"
        bench.measured(f"train stages, {name}", taken.training, "s", detail)
    single, beside, *threaded = found.values()
    bench.claim(f"train stages, --jobs {jobs} against one after another", single.training / beside.training, 1.8)
    bench.measured(f"whole command, --jobs {jobs} against one after another", single.whole / beside.whole, "x")
    for other in threaded:
        bench.claim(f"train stages, --jobs {jobs} against two threads", other.training / beside.training, 1.0)
        bench.measured(f"whole command, --jobs {jobs} against two threads", other.whole / beside.whole, "x")


def repeated(place: workspace.Workspace, command: tuple[str, ...], threads: int) -> Taken:
    """Run the command, and read from its output when trainings began and ended."""
    taken = Taken()
    at_work: dict[str, float] = {}
    began = time.perf_counter()
    for line in place.lines(*command, GANEALOGY_THREADS=str(threads), OMP_NUM_THREADS=str(threads)):
        now = time.perf_counter() - began
        if found := DVC_BEGAN.match(line):
            (stage, run), ended = found.groups(), list(at_work)  # DVC runs one stage at a time
        elif found := RUN_STATE.match(line):
            run, stage = found.groups()
            ended = [run] if run in at_work else []
        else:
            continue
        taken.stages.extend((at_work.pop(one), now) for one in ended)
        if stage == "train":
            at_work[run] = now
    taken.whole = time.perf_counter() - began
    for path in sorted((place.path / "build" / "runs").glob("*/cost/train.json")):
        taken.loops.append(json.loads(path.read_text())["seconds"])
    return taken


if __name__ == "__main__":
    main()
