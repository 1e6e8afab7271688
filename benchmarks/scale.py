"""Measure runs side by side: one pool against a stage per version, Ray's overhead per task, two trainings at a time.

Pool and scheduler are the real ones, with stubs of known length instead of trainings. growth.py measures DVC's lock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from measuring import claims, memory, workspace

from ganealogy.cluster import node_task
from ganealogy.cluster.node_task import Task
from ganealogy.runs.table import RunTable
from ganealogy.runtime import process, workers

BUNDLE_BYTES = 500_000
"""Size of this project's bundle."""
SEEDS = 10
VERSIONS_OF_POOL, SEEDS_OF_POOL = 8, 5
"""The demo's tree."""
CORES = 2, 4, 8, 16, 64
LENGTHS = 0.5, 1.5
"""Range of the stubs' lengths relative to their mean, as versions differ in training time."""
NOISE = 0.95, 1.05
"""Range within a version."""


@dataclass(frozen=True)
class Stub:
    name: str
    seconds: float


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=10_000, help="stub runs in the longest queue")
    parser.add_argument("--seeds", type=int, default=2, help="real trainings of v1, one per seed")
    parser.add_argument("--kimg", type=float, default=25, help="their length; the demo's is 25")
    parser.add_argument("--no-speed", action="store_true", help="no real trainings")
    parser.add_argument("--stubs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lasting", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)


def main() -> None:
    bench, given = claims.begin("Many runs side by side", __doc__, options)
    if given.stubs:
        print(json.dumps(scheduled(given.stubs, given.lasting, given.seconds)))
        return
    pool(bench)
    scheduling(bench, given.tasks)
    if not given.no_speed:
        speed(bench, given.seeds, given.kimg)
    bench.note("DVC's lock, rewritten at each stage: see growth.py")
    bench.finish()


def pool(bench: claims.Benchmark) -> None:
    """Run the demo's tree as stubs that sleep: on any number of cores, since they need none."""
    versions, seeds, mean = (2, 2, 0.05) if bench.quick else (VERSIONS_OF_POOL, SEEDS_OF_POOL, 2.0)
    chance = random.Random(0)
    tree = [
        [Stub(f"v{version}-{seed}", length * chance.uniform(*NOISE)) for seed in range(seeds)]
        for version, length in enumerate(mean * chance.uniform(*LENGTHS) for _ in range(versions))
    ]
    mixed = [stub for row in zip(*tree, strict=True) for stub in row]  # the first seed of all versions first
    lasting([[Stub("first", 0.0)]], 1)  # starts the fork server
    ratios = {}
    for cores in (2,) if bench.quick else CORES:
        together = claims.timed(partial(lasting, [mixed], cores))
        apart = claims.timed(partial(lasting, tree, cores))
        ratios[cores] = apart / together
        detail = f"{versions} versions × {seeds} seeds of {mean:g} s on average; a stage per version {apart:.1f} s"
        bench.measured(f"one pool, {cores} at a time", together, "s", detail)
    most = max(ratios)
    for cores, ratio in ratios.items():
        if cores != most:
            bench.measured(f"a stage per version against one pool, {cores} at a time", ratio, "x")
    bench.claim(f"a stage per version against one pool, {most} at a time", ratios[most], 2.0)


def lasting(stages: list[list[Stub]], places: int) -> None:
    """Run the stubs of each stage side by side, one stage after the other."""
    for stubs in stages:
        with tempfile.TemporaryDirectory() as logs:
            silent = workers.Watcher()
            ended = workers.run(sleep, stubs, [{}] * places, silent, Path(logs), process.Interruption())
        process.default_signals()
        if any(end.how != "done" for end in ended.values()):
            raise RuntimeError(f"stubs failed: {ended}")


def sleep(stub: Stub, send_progress: workers.SendProgress) -> None:
    time.sleep(stub.seconds)


def scheduling(bench: claims.Benchmark, most: int) -> None:
    """Time stubs of length zero, which is the overhead of scheduler and Ray; then stubs of known lengths.

    The ideal makespan is the sum of the lengths over the number of places.
    """
    counts = (20,) if bench.quick else sorted({min(100, most), min(1_000, most), most})
    number, seconds = (4, 0.05) if bench.quick else (60, 1.0)
    found = {count: alone(count, (number, seconds) if count == counts[0] else (0, 0.0)) for count in counts}
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
    stubs = f"{number} stubs of {first['shortest']:.2f} to {first['longest']:.2f} s, {first['jobs']} at a time"
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


def scheduled(count: int, number: int, seconds: float) -> dict[str, Any]:
    """Run `count` stubs of length zero through the scheduler, then `number` stubs of `seconds` on average."""
    from ganealogy.cluster import fill, ray_cluster

    chance = random.Random(0)
    lengths = [seconds * chance.uniform(*LENGTHS) for _ in range(number)]
    began = time.perf_counter()
    ray = ray_cluster.ray_module()
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())  # Ray would leave one in the home folder
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        room = ray_cluster.allocate(ray_cluster.cluster_resources(ray), None, threads=1, gpus_per_run=0)

        def drive(lengths: list[float]) -> float:
            tasks = [task(f"v{n // SEEDS}-{n % SEEDS}", length) for n, length in enumerate(lengths)]
            began = time.perf_counter()
            with RunTable([one.name for one in tasks], room.jobs) as table:
                watch = fill.Watch(table, Path(folder))
                interruption = process.Interruption()
                content = bytes(BUNDLE_BYTES)
                ended = fill.run_tasks(ray, tasks, content, room, watch, interruption, lambda end: None, stub)
            failed = [end for end in ended.values() if end.how != "done"]
            if failed:
                raise RuntimeError(f"{len(failed)} stubs failed, such as {failed[0]}")
            return time.perf_counter() - began

        drive([0.0] * room.jobs)
        start = time.perf_counter() - began
        before, cpu = memory.mib("VmRSS"), time.process_time()
        taken = drive([0.0] * count)
        found: dict[str, Any] = {"seconds": taken, "cpu": time.process_time() - cpu, "jobs": room.jobs, "start": start}
        found |= {"before_mib": before, "peak_mib": memory.mib("VmHWM")}
        if lengths:
            found |= {"ideal": max(sum(lengths) / room.jobs, max(lengths)), "makespan": drive(lengths)}
            found |= {"shortest": min(lengths), "longest": max(lengths)}
    ray.shutdown()
    return found


def task(name: str, seconds: float) -> Task:
    """Return a task as `ganealogy repro --address` makes it; its request says how long to sleep."""
    return Task("scale", name, {"seconds": seconds}, {"GANEALOGY_THREADS": "1"})


def stub(task: Task, bundle: bytes, board: Any) -> node_task.Outcome:
    """Post the messages of a run, and sleep instead of training."""
    node = socket.gethostname()
    board.post.remote(task.name, {"node": node, "begin": True})
    for stage in ("data", "train", "sample", "evaluate", "upload"):
        board.post.remote(task.name, {"node": node, "progress": {"stage": stage}, "log": f"{stage}\n"})
        if stage == "train":
            time.sleep(task.request["seconds"])
    return "done", "", []


def speed(bench: claims.Benchmark, seeds: int, kimg: float) -> None:
    """Train the seeds of a version three ways: in sequence with one thread, two side by side, in sequence with two."""
    seeds, kimg = (1, 0.032) if bench.quick else (seeds, kimg)
    protocol: dict[str, Any] = workspace.PROTOCOL
    if not bench.quick:
        demo = yaml.safe_load((claims.ROOT / "presets" / "demo.yaml").read_text())
        protocol = {**protocol, "train": demo["train"], "dataset": {**demo["dataset"], "count": 2000}}
    train = {**protocol["train"], "kimg": kimg, "threads": 1, "device": "cpu"}
    contenders = {"one at a time, one thread": (1, 1), "two at a time, one thread each": (2, 1)}
    if not bench.quick:
        contenders["one at a time, two threads"] = (1, 2)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        whole = {**protocol, "train": train}
        ready = workspace.Workspace(Path(folder) / "ready", versions=1, seeds=seeds, protocol=whole)
        ready.dvc("repro", "reference")
        for name, (jobs, threads) in contenders.items():
            place = ready.copy(Path(folder) / str(len(found)))
            found[name] = claims.timed(partial(stage, place, jobs, threads))
    for name, taken in found.items():
        bench.measured(f"the train stage, {name}", taken, "s", f"{seeds} seeds of v1, {kimg:g} kimg each")
    single, beside, *threaded = found.values()
    bench.claim("the train stage, two at a time against one", single / beside, 1.8)
    for other in threaded:
        bench.claim("the train stage, two at a time against two threads", other / beside, 1.0)


def stage(place: workspace.Workspace, jobs: int, threads: int) -> None:
    count = str(threads)
    environment = {"GANEALOGY_JOBS": str(jobs), "GANEALOGY_THREADS": count, "OMP_NUM_THREADS": count}
    for _ in place.lines(sys.executable, "-m", "dvc", "repro", "train@v1", **environment):
        pass


if __name__ == "__main__":
    main()
