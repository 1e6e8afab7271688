"""One NVIDIA card: v1 against the notebook's loop with data loading, and where each version's time goes.

For a person with a card (the targets are for an H100 or H200): about eight minutes. Without one it says so and claims
nothing. `--device cpu --quick` goes the same way on the processor, with tiny networks: that the script works, no more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from measuring import claims, kernels, notebook, pictures
from measuring.claims import Benchmark
from measuring.device import block, has_bf16, matrix_peak
from measuring.ours import NOTED, Ours

from ganealogy import memory
from ganealogy.adversary.guard import Diverged
from ganealogy.data.batches import Batches
from ganealogy.errors import GanealogyError
from ganealogy.lineage import flops
from ganealogy.training_stage import repeat_on_cuda

T = TypeVar("T")

SIZE = 64
"""Pixels a side; the notebook's networks have no other."""
QUICK = ["v1", "v11", "v14", "v16", "mnist-dcgan"]
"""One of each kind that matters here: plain, a running mean of G, attention, R3GAN, the simultaneous game."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PLAIN, REPEATABLE, TUNED = "as it trains", "deterministic", "cudnn.benchmark"


def set_up(given: argparse.Namespace, quick: bool) -> None:
    """What a train stage sets, and the sizes: `given` gets them all."""
    memory.keep_freed()
    torch.set_num_threads(given.threads)
    repeat_on_cuda()  # the environment that deterministic cuBLAS wants is read once, so both ways run in it
    torch.use_deterministic_algorithms(False)  # as params.yaml has it unless somebody asks
    given.batch_size, given.width, given.count, given.side, given.matrix = 128, 64, 4000, SIZE, 8192
    if quick:
        given.batch_size, given.width, given.count, given.side, given.matrix = 8, 8, 64, 32, 256
        given.rounds, given.steps, given.looked_at = 1, 1, 1
    if given.versions is None:
        given.versions = QUICK if quick else every_version()


def every_version() -> list[str]:
    """v1, v2, …, then the other roots."""
    names = [path.stem for path in (claims.ROOT / "versions").glob("*.yaml")]
    return sorted(names, key=lambda name: (not name[1:].isdigit(), int(name[1:]) if name[1:].isdigit() else 0, name))


def against_the_notebook(bench: Benchmark, given: argparse.Namespace, peaks: dict[str, float]) -> None:
    """v1 at 64x64, a step at a time, all sides in turns: without data, then with everybody's own data loading."""
    device, steps = given.device, given.steps
    peer = notebook.Notebook(given.batch_size, given.width, device=device)
    batches = Batches(pictures.packed(given.count, SIZE), given.batch_size, 0, device)
    ours = {f"ours {name}": Ours(batches, "v1", device, precision=name, width=given.width) for name in peaks}
    still = batches.batch(0)
    still_nchw = still.contiguous()
    dry = {"notebook": block(lambda: peer.step(still_nchw), steps, device)}
    dry |= {name: block(lambda side=side: side.step(still), steps, device) for name, side in ours.items()}  # type: ignore[misc]
    found = {"without data": claims.in_turns(dry, given.rounds)}
    folder = Path(tempfile.mkdtemp(prefix="ganealogy-bench-"))
    try:
        pictures.write_jpegs(folder, max(given.count, (notebook.PREFETCHED + 1) * given.batch_size), 96, 96)
        fed = {"notebook": notebook.fed(peer, folder, SIZE, steps)}
        fed |= {name: block(side.step, steps, device) for name, side in ours.items()}
        found["with data"] = claims.in_turns(fed, given.rounds, warm_up=0)
    finally:
        shutil.rmtree(folder)
    for label, times in found.items():
        for name, values in times.items():
            what = f"v1, {name}, {label}"
            bench.measured(what, statistics.median(values) * 1000, "ms a step", claims.spread(values, 1e3))
        for name in ours:
            faster = claims.ratio(times["notebook"], times[name])
            if label == "with data":
                bench.claim(f"v1 in {name.split()[1]}, data loading included, over the notebook's loop", faster, 10)
            else:
                bench.measured(f"v1, {name}, over the notebook's loop, {label}", faster, "x")
    for name, side in ours.items():
        step = statistics.median(found["with data"][name])
        achieved(bench, f"v1, {name}, with data", side, step, peaks[name.split()[1]])


def achieved(bench: Benchmark, what: str, side: Ours, seconds: float, peak: float) -> None:
    rate = flops.per_image(side.plan["recipe"], side.plan["protocol"]) * side.batch_size / seconds
    bench.measured(f"{what}: achieved", rate / 1e12, "TFLOP/s", f"{rate / peak:.1%} of the matrix peak")


def tree(bench: Benchmark, given: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Each version on its own: its rate, where the time goes, what it waits for, what determinism costs."""
    precision = given.precision if given.precision in peaks else "fp32"
    bench.measured("the versions' precision", precision)
    packed = pictures.packed(given.count, given.side)
    batches = Batches(packed, given.batch_size, 0, given.device)
    seen: dict[str, tuple[float, float, float]] = {}
    for version in given.versions:
        try:
            protocol = {"precision": precision, "width": given.width, "image_size": given.side}
            # One each, as a CUDA graph keeps to the setting that it was recorded under.
            sides = {way: Ours(batches, version, given.device, **protocol) for way in (PLAIN, TUNED, REPEATABLE)}
            seen[version] = look_at(bench, given, version, sides, peaks[precision])
        except (Diverged, GanealogyError, RuntimeError) as trouble:  # the others' numbers are worth having all the same
            bench.note(f"{version} is not measured: {first_line(trouble)}")
    if not seen:
        return
    texts = {
        0: "share of the time without the networks' own kernels",
        1: "share of the kernels' time that is not the networks' own",
        2: "times a step that the host waits for the card between two ticks",
    }
    for index, text in texts.items():
        worst = max(seen, key=lambda version: seen[version][index])
        target, unit = (0.0, "") if index == 2 else (10.0, "%")
        bench.claim(f"{text}, at most ({worst})", seen[worst][index], target, unit, at_least=False)


def look_at(
    bench: Benchmark, given: argparse.Namespace, version: str, sides: dict[str, Ours], peak: float
) -> tuple[float, float, float]:
    """The time without the network's kernels in %, the kernels' time that is not the network's in %, waits a step."""
    side, ways = sides[PLAIN], {way: under(way, own, given) for way, own in sides.items()}
    try:
        with_setting(REPEATABLE, sides[REPEATABLE].step)
    except RuntimeError as refusal:
        del ways[REPEATABLE]
        bench.note(f"{version} has no deterministic form: {first_line(refusal)}")
    times = claims.in_turns(ways, given.rounds)
    seconds = statistics.median(times[PLAIN])
    spread = f"{claims.spread(times[PLAIN], 1e3)}, ms a step"
    bench.measured(f"{version}: rate", side.batch_size / seconds, "images/s", spread)

    profile = kernels.profiled(side.played, given.looked_at, given.device)
    wall = seconds * 1000
    # Profiling slows the host and not the kernels: their time stands against the clock without it.
    rest, foreign = 1 - min(1.0, profile.busy / wall), 1 - profile.network / profile.work
    others = ", ".join(f"{name} {taken / profile.work:.1%}" for name, taken in profile.others)
    bench.measured(f"{version}: no kernel runs", 100 * rest, "% of the time", f"{profile.busy:.3g} of {wall:.3g} ms")
    bench.measured(f"{version}: not the network's", 100 * foreign, "% of the kernels' time", f"most: {others}")
    if given.device == "cpu":
        waited, places = profile.reads, "numbers read"
    else:
        found = kernels.waits(side.step, NOTED)
        waited = found.total() / NOTED
        places = ", ".join(f"{place} {count / NOTED:g}" for place, count in found.most_common(5))
    bench.measured(f"{version}: the host waits", waited, "times a step", places)
    for way in (REPEATABLE, TUNED):
        if way in times:
            bench.measured(f"{version}: {way}", claims.ratio(times[way], times[PLAIN]), "x its time")
    achieved(bench, version, side, seconds, peak)
    return 100 * (1 - min(1.0, profile.network / wall)), 100 * foreign, waited


def under(way: str, side: Ours, given: argparse.Namespace) -> Callable[[], float]:
    """A contender: the same steps under one setting of torch."""
    run = block(side.step, given.steps, given.device)
    return lambda: with_setting(way, run)


def with_setting(way: str, run: Callable[[], T]) -> T:
    torch.use_deterministic_algorithms(way == REPEATABLE)
    torch.backends.cudnn.benchmark = way == TUNED
    try:
        return run()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--versions", nargs="+", metavar="VERSION", help="of the tree; all unless given")
    parser.add_argument("--precision", default="bf16", choices=list(TYPES), help="the tree's; v1 is measured in both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--looked-at", type=int, default=5, help="steps under the profiler")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("GANEALOGY_THREADS", 2)))


def main() -> None:
    bench, given = claims.begin("One GPU", __doc__, options)
    if given.device == "cuda" and not torch.cuda.is_available():
        bench.note("no GPU here: nothing is measured (--device cpu --quick tries the script itself)")
        bench.finish()
        return
    set_up(given, bench.quick)
    try:  # what was measured is shown whatever comes after it
        name = claims.processor() if given.device == "cpu" else torch.cuda.get_device_name()
        bench.measured("device", name, "", f"torch {torch.__version__}")
        types = {name: kind for name, kind in TYPES.items() if name == "fp32" or given.device != "cpu" or has_bf16()}
        peaks = {name: matrix_peak(kind, given.matrix, given.device) for name, kind in types.items()}
        for precision, peak in peaks.items():
            detail = "the better of torch.mm and a convolution"
            if (precision, given.device) == ("fp32", "cuda"):
                detail += f"; fp32 is {torch.backends.cudnn.conv.fp32_precision} in cuDNN's convolutions"
            bench.measured(f"matrix peak, {precision}", peak / 1e12, "TFLOP/s", detail)
        against_the_notebook(bench, given, peaks)
        tree(bench, given, peaks)
        if given.device == "cpu":
            bench.note("on the processor: this says that the script works, and nothing of a GPU")
    finally:
        bench.finish()


if __name__ == "__main__":
    main()
