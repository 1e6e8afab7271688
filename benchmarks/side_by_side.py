"""Measure trainings side by side: images/s, idle and beside a busy process; the estimate of the time; overhead; memory.

v1 at 16×16, width 32, batch 32, as in the demo, for 500 steps: shorter trainings are not estimated. Each side starts
with an empty store.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import claims, workspace

from ganealogy.runtime import machine

PROTOCOL = {
    "dataset": {
        "name": "avatars",
        "style": "pixel-art",
        "image_size": 16,
        "channels": 3,
        "count": 2000,
        "holdout": 0.1,
    },
    "train": {
        "kimg": 16,
        "batch_size": 32,
        "lr": 0.0002,
        "width": 32,
        "ticks": 3,
        "tracker_images": 500,
        "device": "cpu",
        "threads": 1,
    },
    "sample": {"count": 500},
    "evaluate": {"extractors": ["pixel8"], "lead": "fd_pixel8", "reals": 1500},
}
BUSY = [sys.executable, "-c", "while True: pass"]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=2)


def main() -> None:
    bench, given = claims.begin("Trainings side by side", __doc__, options)
    protocol = workspace.PROTOCOL if bench.quick else PROTOCOL
    most = 2 if bench.quick else machine.cores()
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        place = workspace.Workspace(Path(folder) / "place", versions=1, seeds=most, protocol=protocol)
        for verb in ("plan", "download", "preprocess"):
            place.ganealogy(verb)
        if not bench.quick:
            times(bench, place)
        rates(bench, place, 1 if bench.quick else given.rounds, most)
        overhead(bench, place, 1 if bench.quick else given.rounds, 2 if bench.quick else 5)
    bench.finish()


def times(bench: claims.Benchmark, place: workspace.Workspace) -> None:
    """Compare the estimate before the first training with what it takes."""
    said: list[str] = []
    wall = claims.timed(lambda: said.extend(place.lines(sys.executable, "-m", "ganealogy", "train", "v1")))
    [line] = [line for line in said if "of processor time" in line]
    estimated_wall, estimated_cpu = (seconds(text) for text in re.findall(r"((?:\d+ h )?(?:\d+ min )?\d+ s)", line))
    cpu = sum(cost["cpu_seconds"] for cost in costs(place))
    bench.measured("the estimate before the first training", line.strip().removeprefix("ganealogy: "))
    bench.claim(
        "estimated processor time against the trainings' own, off by",
        100 * abs(estimated_cpu / cpu - 1),
        10,
        "%",
        False,
    )
    detail = f"{wall:.1f} s, {wall - estimated_wall:.1f} s of them not estimated: start and measuring"
    bench.measured("estimated wall time", estimated_wall, "s", detail)


def seconds(text: str) -> float:
    """Read `2 min 05 s`."""
    parts = {unit: int(number) for number, unit in re.findall(r"(\d+) (h|min|s)", text)}
    return 3600 * parts.get("h", 0) + 60 * parts.get("min", 0) + parts["s"]


def rates(bench: claims.Benchmark, place: workspace.Workspace, rounds: int, most: int) -> None:
    """Time one training with all cores, and as many as there are cores with one thread each."""

    def rate(seeds: int, threads: int) -> float:
        empty(place)
        names = ",".join(map(str, range(seeds)))
        command = [sys.executable, "-m", "ganealogy", "train", "v1", "--seeds", names]
        list(place.lines(*command, GANEALOGY_JOBS=str(seeds), GANEALOGY_THREADS=str(threads)))
        return sum(cost["images_per_second"] for cost in costs(place))

    for state in ("idle", "beside a busy process"):
        with busy() if state != "idle" else idle():
            found: dict[str, list[float]] = {"one": [], "threads": [], "side": []}
            for _ in range(rounds):
                found["one"].append(rate(1, 1))
                found["threads"].append(rate(1, most))
                found["side"].append(rate(most, 1))
        for key, what in (
            ("one", "one training, one thread"),
            ("threads", f"one training, {most} threads"),
            ("side", f"{most} trainings, one thread each"),
        ):
            bench.measured(f"{state}: {what}", statistics.median(found[key]), "images/s", claims.spread(found[key]))
        gain = statistics.median([side / one for side, one in zip(found["side"], found["threads"], strict=True)])
        bench.claim(f"{state}: side by side against one training with all threads", gain, 1.2 if state == "idle" else 2)
    peak = max(cost["peak_memory_bytes"] for cost in costs(place)) / 2**20
    bench.claim("memory of a seed's process at its largest", peak, 600, "MiB", at_least=False)


def overhead(bench: claims.Benchmark, place: workspace.Workspace, rounds: int, seeds: int) -> None:
    """Time trainings of one step: a stage for all seeds, and a stage for each."""
    text = (place.path / "params.yaml").read_text()
    (place.path / "params.yaml").write_text(re.sub(r"kimg: .*", "kimg: 0.001", text))
    place.ganealogy("plan")

    def one_stage() -> float:
        empty(place)
        return claims.timed(lambda: place.ganealogy("train", "v1", "--seeds", f"0-{seeds - 1}"))

    def a_stage_each() -> float:
        empty(place)
        return claims.timed(lambda: [place.ganealogy("train", "v1", "--seeds", str(seed)) for seed in range(seeds)])

    found = claims.in_turns({"one": one_stage, "each": a_stage_each}, rounds, warm_up=0)
    bench.measured(f"{seeds} trainings of one step, one stage", statistics.median(found["one"]), "s")
    bench.measured(f"{seeds} trainings of one step, a stage each", statistics.median(found["each"]), "s")
    gain = claims.ratio(found["each"], found["one"])
    bench.claim("a stage for each seed against one for all, without DVC's own time", gain, 1.5)


def costs(place: workspace.Workspace) -> list[dict[str, float]]:
    return [json.loads(path.read_text()) for path in sorted(place.path.glob("build/runs/v1/cost/train/*.json"))]


def empty(place: workspace.Workspace) -> None:
    for name in ("store", "runs"):
        shutil.rmtree(place.path / "build" / name, ignore_errors=True)


@contextmanager
def busy() -> Iterator[None]:
    with subprocess.Popen(BUSY) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def idle() -> Iterator[None]:
    yield


if __name__ == "__main__":
    main()
