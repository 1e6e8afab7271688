"""One NVIDIA card: v1 against the notebook's loop with data loading, and where each version's time goes.

For a person with a card (the targets are for an H100 or H200): `--minutes`, nine. Without one it says so and claims
nothing. `--device cpu --quick` goes the same way on the processor, with tiny networks: that the script works, no more.

Stopped by Ctrl-C or SIGTERM it ends with the table of what was measured. The JSON file is written after each version.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch
from measuring import claims, kernels, notebook, pictures
from measuring.claims import Benchmark, Claim
from measuring.device import block, has_bf16, matrix_peak
from measuring.ours import Ours

from ganealogy.adversary.divergence import Diverged
from ganealogy.data.batches import Batches
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import Extractor, FeatureSet, extract, load_extractor
from ganealogy.evaluation.measure import METRICS, Comparison
from ganealogy.lineage import flops
from ganealogy.runtime import memory, nvidia
from ganealogy.runtime.precision import float32_as
from ganealogy.sampling import latents
from ganealogy.sampling.generate import BATCH, generate
from ganealogy.stages.train import use_deterministic_algorithms
from ganealogy.training.loop import REPORT_EVERY
from ganealogy.training.state import GRAPHS

T = TypeVar("T")

SIZE = 64
"""Pixels a side; the notebook's networks have no other."""
QUICK = ["v1", "v11", "v14", "v16", "mnist-dcgan"]
"""One of each kind that matters here: plain, a running mean of G, attention, R3GAN, the simultaneous game."""
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
PLAIN, UNTUNED, REPEATABLE = "as it trains", "without cudnn.benchmark", "deterministic"
LAUNCHED = "without CUDA graphs"
WAYS = (PLAIN, UNTUNED, REPEATABLE, LAUNCHED)


def set_up(given: argparse.Namespace, quick: bool) -> None:
    """What a train stage sets, and the sizes: `given` gets them all."""
    memory.keep_freed()
    torch.set_num_threads(given.threads)
    use_deterministic_algorithms()  # cuBLAS reads its environment once
    torch.use_deterministic_algorithms(False)  # as params.yaml has it by default
    torch.backends.cudnn.benchmark = True  # likewise
    given.batch_size, given.width, given.count, given.side, given.matrix = 128, 64, 4000, SIZE, 8192
    given.features = 10_000
    if quick:
        given.batch_size, given.width, given.count, given.side, given.matrix = 8, 8, 64, 32, 256
        given.rounds, given.steps, given.looked_at, given.features = 1, 1, 1, 256
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
    ours = {
        f"ours {name}": Ours(batches, "v1", device, bench.note, precision=name, width=given.width) for name in peaks
    }
    still = batches.batch(0)
    still_nchw = still.contiguous()
    # The notebook's loop has torch's default.
    dry = {"notebook": under(UNTUNED, block(lambda: peer.step(still_nchw), steps, device))}
    dry |= {name: block(lambda side=side: side.step(still), steps, device) for name, side in ours.items()}  # type: ignore[misc]
    found = {"without data": claims.in_turns(dry, given.rounds)}
    folder = Path(tempfile.mkdtemp(prefix="ganealogy-bench-"))
    try:
        pictures.write_jpegs(folder, max(given.count, (notebook.PREFETCHED + 1) * given.batch_size), 96, 96)
        fed = {"notebook": under(UNTUNED, notebook.fed(peer, folder, SIZE, steps))}
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


def evaluation(bench: Benchmark, given: argparse.Namespace) -> None:
    """What follows a training: features of pictures, and each metric of as many features as papers take."""
    extractor = load_extractor("effnet_lite0", given.device)
    images = pictures.packed(given.count, given.side)
    extract(extractor, images[:BATCH], "warm-up")
    seconds = claims.timed(lambda: extract(extractor, images, "features"))
    bench.measured(f"features by {extractor.name}", len(images) / seconds, "images/s", f"{given.side} pixels a side")
    metrics(bench, given, extractor)


def metrics(bench: Benchmark, given: argparse.Namespace, extractor: Extractor) -> None:
    """In the order of the evaluation: what one computes of a set is kept for those that come after it."""
    rng = np.random.default_rng(0)
    shape, falling = (given.features, extractor.dimension), 0.997 ** np.arange(extractor.dimension, dtype=np.float32)
    fakes, reals, holdout = (
        FeatureSet(rng.standard_normal(shape, np.float32) * falling + np.float32(shift), given.device)
        for shift in (0.02, 0, 0)
    )
    comparison, total = Comparison(extractor, fakes, reals, holdout=holdout), 0.0
    for metric in METRICS:
        if not metric.applies(extractor):
            continue
        names = ", ".join(name.replace("_{}", "") for name in metric.names)
        try:
            seconds = claims.timed(lambda metric=metric: metric.measure(comparison))  # type: ignore[misc]
        except GanealogyError as error:
            bench.note(f"{names}: not measured: {error}")
            continue
        total += seconds
        bench.measured(f"metrics: {names}", seconds, "s")
    bench.measured("metrics, all", total, "s", f"{given.features:,} fakes, reals and held-out reals")


def tree(bench: Benchmark, given: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Each version on its own, as long as there is time for one that takes as long as the longest so far."""
    precision = given.precision if given.precision in peaks else "fp32"
    bench.measured("the versions' precision", precision)
    batches = Batches(pictures.packed(given.count, given.side), given.batch_size, 0, given.device)
    seen: dict[str, tuple[float, float, float]] = {}
    longest, before = 0.0, len(bench.claims)
    for index, version in enumerate(given.versions):
        began = time.monotonic()
        if began + longest > given.deadline:
            bench.note(f"left out for --minutes {given.minutes:g}: {' '.join(given.versions[index:])}")
            break
        looked_at = partial(look_at, bench, given, version, batches, precision, peaks[precision])
        found = attempt(bench, given, version, looked_at)
        if found is not None:
            seen[version] = found
        longest = max(longest, time.monotonic() - began)
        bench.claims[before:] = worst(seen) if seen else []
        bench.save()


def attempt(bench: Benchmark, given: argparse.Namespace, name: str, work: Callable[[], T]) -> T | None:
    """Where a part fails, the others' numbers are worth having all the same."""
    result = None
    try:
        result = work()
    except (Diverged, GanealogyError, ImportError, RuntimeError) as trouble:
        bench.note(f"{name} is not measured: {first_line(trouble)}")
    # A learner and its graph hold each other: only a collection frees them, and with them the card's memory.
    gc.collect()
    if given.device != "cpu":
        torch.cuda.empty_cache()
    return result


def worst(seen: dict[str, tuple[float, float, float]]) -> list[Claim]:
    """The claims about all versions, each by the version that is farthest from it."""
    bounds = {
        "share of the time without the networks' own kernels": (10.0, "%"),
        "share of the kernels' time that is not the networks' own": (10.0, "%"),
        "times a step that the host waits for the card between two ticks": (0.0, ""),
    }
    found = []
    for index, (text, (target, unit)) in enumerate(bounds.items()):
        version = max(seen, key=lambda version: seen[version][index])
        found.append(Claim(f"{text}, at most ({version})", seen[version][index], target, unit, at_least=False))
    return found


def prepared(
    bench: Benchmark, given: argparse.Namespace, version: str, batches: Batches, precision: str, way: str
) -> Ours:
    """A side for each way, as a CUDA graph keeps to the setting that it was recorded under."""
    with patch.dict(os.environ, {GRAPHS: "0"} if way == LAUNCHED else {}):
        return Ours(
            batches,
            version,
            given.device,
            lambda text: bench.note(f"{version}, {way}: {text}"),
            precision=precision,
            width=given.width,
            image_size=given.side,
        )


def look_at(
    bench: Benchmark, given: argparse.Namespace, version: str, batches: Batches, precision: str, peak: float
) -> tuple[float, float, float]:
    """The time without the network's kernels in %, the kernels' time that is not the network's in %, waits a step."""
    sides = {way: prepared(bench, given, version, batches, precision, way) for way in WAYS}
    ways = {way: under(way, block(own.step, given.steps, given.device)) for way, own in sides.items()}
    side = sides[PLAIN]
    try:
        with_setting(REPEATABLE, sides[REPEATABLE].step)
    except RuntimeError as refusal:
        del ways[REPEATABLE]
        bench.note(f"{version} has no deterministic form: {first_line(refusal)}")
    times = claims.in_turns(ways, given.rounds)
    seconds = statistics.median(times[PLAIN])
    spread = f"{claims.spread(times[PLAIN], 1e3)}, ms a step"
    bench.measured(f"{version}: rate", side.batch_size / seconds, "images/s", spread)

    profile = kernels.profiled(side.eager_step, given.looked_at, given.device)
    wall = seconds * 1000
    # Profiling slows the host and not the kernels: their time stands against the clock without it.
    rest, foreign = 1 - min(1.0, profile.busy / wall), 1 - profile.network / profile.work
    others = ", ".join(f"{name} {taken / profile.work:.1%}" for name, taken in profile.others)
    bench.measured(f"{version}: no kernel runs", 100 * rest, "% of the time", f"{profile.busy:.3g} of {wall:.3g} ms")
    bench.measured(f"{version}: not the network's", 100 * foreign, "% of the kernels' time", f"most: {others}")
    if given.device == "cpu":
        waited, places = profile.reads, "numbers read"
    else:
        found = kernels.waits(side.step, REPORT_EVERY)
        waited = found.total() / REPORT_EVERY
        places = ", ".join(f"{place} {count / REPORT_EVERY:g}" for place, count in found.most_common(5))
    bench.measured(f"{version}: the host waits", waited, "times a step", places)
    for way in WAYS:
        if way != PLAIN and way in times:
            bench.measured(f"{version}: {way}", claims.ratio(times[way], times[PLAIN]), "x its time")
    achieved(bench, version, side, seconds, peak)
    sampled(bench, given, version, side)
    return 100 * (1 - min(1.0, profile.network / wall)), 100 * foreign, waited


def sampled(bench: Benchmark, given: argparse.Namespace, version: str, side: Ours) -> None:
    z = latents.sample_latents(side.plan["recipe"]["latent"], given.count, latents.SAMPLE_SEED)
    generate(side.state.eval_generator, z[:BATCH])
    seconds = claims.timed(lambda: generate(side.state.eval_generator, z))
    bench.measured(f"{version}: sampling", given.count / seconds, "images/s", "in fp32, to bytes in the host's memory")


def under(way: str, run: Callable[[], T]) -> Callable[[], T]:
    """The same under one setting of torch."""
    return lambda: with_setting(way, run)


def with_setting(way: str, run: Callable[[], T]) -> T:
    torch.use_deterministic_algorithms(way == REPEATABLE)
    torch.backends.cudnn.benchmark = way in (PLAIN, LAUNCHED)
    try:
        return run()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = True


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--versions", nargs="+", metavar="VERSION", help="of the tree; all unless given")
    parser.add_argument("--precision", default="bf16", choices=list(TYPES), help="the tree's; v1 is measured in each")
    parser.add_argument("--minutes", type=float, default=9, metavar="M", help="start no version that would end later")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--looked-at", type=int, default=5, help="steps under the profiler")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("GANEALOGY_THREADS", 2)))


def about(device: str) -> tuple[str, str]:
    """The device's name, and what else its numbers depend on."""
    if device == "cpu":
        return claims.processor(), f"torch {torch.__version__}"
    card = torch.cuda.get_device_properties(device)
    size = f"{card.total_memory / 2**30:.0f} GiB, {card.multi_processor_count} multiprocessors"
    driver = nvidia.inspect(os.environ).driver
    return card.name, f"{size}, driver {driver}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"


def precisions(device: str) -> list[str]:
    return [name for name in TYPES if name != "bf16" or device != "cpu" or has_bf16()]


def main() -> None:
    bench, given = claims.begin("One GPU", __doc__, options)
    given.deadline = time.monotonic() + 60 * given.minutes
    if given.device == "cuda" and not torch.cuda.is_available():
        bench.note("no GPU here: nothing is measured (--device cpu --quick tries the script itself)")
        bench.finish()
        return
    with bench.finished_in_any_case():
        set_up(given, bench.quick)
        name, detail = about(given.device)
        bench.measured("device", name, "", detail)
        peaks = {}
        for precision in precisions(given.device):
            with float32_as(precision):
                peaks[precision] = matrix_peak(TYPES[precision], given.matrix, given.device)
            best = "the better of torch.mm and a convolution"
            bench.measured(f"matrix peak, {precision}", peaks[precision] / 1e12, "TFLOP/s", best)
        attempt(bench, given, "v1 beside the notebook", lambda: against_the_notebook(bench, given, peaks))
        attempt(bench, given, "the evaluation", lambda: evaluation(bench, given))
        bench.save()
        tree(bench, given, peaks)
        if given.device == "cpu":
            bench.note("on the processor: this says that the script works, and nothing of a GPU")


if __name__ == "__main__":
    main()
