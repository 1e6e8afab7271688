"""Measure how time and memory grow with image size, data set, versions and seeds, and which limit comes first."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import claims, memory, workspace

PARTS = ("size", "dataset")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=64, help=argparse.SUPPRESS)


def main() -> None:
    bench, given = claims.begin("Cost as the work grows", __doc__, options)
    if given.part:
        print(json.dumps(part(given)))
        return
    by_size(bench)
    by_dataset(bench)
    by_tree(bench)
    bench.finish()


def by_size(bench: claims.Benchmark) -> None:
    """Time v1's step with batch 128 at width 64, each image size in its own process."""
    width = 8 if bench.quick else 64
    sizes = (32,) if bench.quick else (32, 64, 128)
    found = {size: alone("size", size, width=width) for size in sizes}
    for size, result in found.items():
        detail = f"batch {result['batch']}; peak {result['peak_mib']:,.0f} MiB"
        bench.measured(f"v1's step at {size}x{size}", 1000 * result["seconds"], "ms", detail)
    if len(sizes) == 1:
        return
    last, before = sizes[-1], sizes[-2]
    factor = found[last]["seconds"] / found[before]["seconds"]
    bench.measured(f"{last} pixels against {before}", factor, "x", "the same number of images; 4 times the pixels")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    size, own, seconds = last, found[last]["peak_mib"] - found[last]["before_mib"], found[last]["seconds"]
    while own * 4 + found[last]["before_mib"] < machine:
        size, own, seconds = size * 2, own * 4, seconds * factor
    bench.note(
        f"Image size: at 4 times the memory per doubling, {size}x{size} is the largest whose batch of "
        f"{found[last]['batch']} fits in this machine's {machine / 1024:.0f} GiB; a step there would take "
        f"{seconds:.0f} s, so time is the first limit"
    )


def by_dataset(bench: claims.Benchmark) -> None:
    """Time the same number of batches from arrays of 1k to 1M images at 32x32, stored as sparse files."""
    counts = (1_000, 10_000) if bench.quick else (1_000, 10_000, 100_000, 1_000_000)
    found = {}
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        for count in counts:
            found[count] = alone("dataset", count, folder=Path(folder))
    for count, result in found.items():
        detail = (
            f"first batch {1000 * result['first']:.0f} ms; own memory {result['own_mib']:.0f} MiB, "
            f"mapped pages {result['mapped_mib']:.0f} MiB"
        )
        bench.measured(f"a batch of 128 from {count:,} images", 1000 * result["seconds"], "ms", detail)
    grown = found[counts[-1]]["own_mib"] - found[counts[0]]["own_mib"]
    text = f"own memory growth from {counts[0]:,} to {counts[-1]:,} images"
    bench.claim(text, grown, 32, "MiB", at_least=False)
    bench.note("Data set: the order of an epoch grows, 8 bytes per image; the system can reclaim the mapped pages")


def by_tree(bench: claims.Benchmark) -> None:
    """Time DVC's part: the plan, rewriting dvc.lock after each stage, and a `dvc repro` with nothing to do."""
    trees = ((1, 1),) if bench.quick else ((1, 1), (8, 5), (12, 3), (50, 1), (50, 10))
    rewrites: dict[int, float] = {}
    for versions, seeds in trees:
        with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
            place = workspace.Workspace(Path(folder) / "tree", versions, seeds)
            planning = place.pretend()
            nothing = claims.timed(lambda place=place: place.dvc("repro"))  # type: ignore[misc]
            rewrites[place.stages] = rewrite(place)
            lock = (place.path / "dvc.lock").stat().st_size / 1024
            detail = f"plan {planning:.1f} s; no-op repro {nothing:.1f} s; dvc.lock {lock:.0f} KiB"
            size = f"{versions} versions x {seeds} seeds, {place.stages} stages"
            bench.measured(f"DVC's lock, {size}", rewrites[place.stages], "s per stage", detail)
    if len(rewrites) == 1:
        return
    (few, fast), (many, slow) = min(rewrites.items()), max(rewrites.items())
    each = max((slow - fast) / (many - few), 1e-9)
    limit = int(few + (1.0 - fast) / each)
    whole = slow * many
    bench.measured("stages at which the lock costs a second per stage", float(limit), "stages", "linear extrapolation")
    bench.note(
        f"Versions: {many} stages rewrite the lock for {whole / 60:.1f} minutes in all; on one machine "
        "the trainings are the first limit, and the lock only if a stage takes seconds"
    )


def rewrite(place: workspace.Workspace) -> float:
    """Return the seconds that DVC takes to load dvc.lock, change one stage and write it, as after each stage."""
    code = """
import time, statistics
from dvc.repo import Repo
from dvc.dvcfile import load_file
with Repo() as repo:
    stage = repo.stage.collect("train@v1")[0]
    taken = []
    with repo.lock:
        for _ in range(3):
            began = time.perf_counter()
            stage.dvcfile.dump(stage, update_pipeline=False)
            taken.append(time.perf_counter() - began)
print("TAKEN", statistics.median(taken))
"""
    found = re.search(r"TAKEN (\S+)", place.run(sys.executable, "-c", code))
    assert found is not None
    return float(found[1])


def alone(name: str, of: int, width: int = 64, folder: Path | None = None) -> dict[str, Any]:
    """Run a measurement in its own process, so that its memory is counted alone."""
    command = [sys.executable, __file__, "--part", name, "--of", str(of), "--width", str(width)]
    command += ["--folder", str(folder)] if folder else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def part(given: argparse.Namespace) -> dict[str, Any]:
    return step_at(given.of, given.width) if given.part == "size" else batches_of(given.of, given.folder)


def step_at(size: int, width: int) -> dict[str, Any]:
    import torch
    from measuring import family, pictures

    from ganealogy.data.batches import Batches
    from ganealogy.runtime import process
    from ganealogy.runtime.memory import keep_freed
    from ganealogy.training.state import TrainingState

    keep_freed()
    torch.set_num_threads(process.threads(os.cpu_count() or 1))
    batch = 128 if width == 64 else 8
    plan = family.plan("v1", image_size=size, width=width, batch_size=batch)
    before = memory.mib("VmRSS")
    state = TrainingState(plan["recipe"], plan["protocol"], 1000, "cpu")
    batches = Batches(pictures.packed(batch, size), batch, seed=0)
    taken = [claims.timed(lambda: state.game.step(*batches.window(0), progress=0.5)) for _ in range(4)]
    peak = memory.mib("VmHWM")
    return {"seconds": statistics.median(taken[1:]), "batch": batch, "peak_mib": peak, "before_mib": before}


def batches_of(count: int, folder: Path) -> dict[str, Any]:
    import numpy as np

    from ganealogy.data import packed
    from ganealogy.data.batches import Batches

    with open(folder / "train.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + count * 32 * 32 * 3)
    began = time.perf_counter()
    batches = Batches(packed.open_split(folder, "train"), 128, seed=0)
    batches.batch(0)
    first = time.perf_counter() - began
    within = min(200, batches.steps_per_epoch - 1)
    taken = [claims.timed(lambda step=step: batches.batch(step)) for step in range(1, 1 + within)]  # type: ignore[misc]
    own, mapped = memory.mib("RssAnon"), memory.mib("RssFile")
    return {"seconds": statistics.median(taken), "first": first, "own_mib": own, "mapped_mib": mapped}


if __name__ == "__main__":
    main()
