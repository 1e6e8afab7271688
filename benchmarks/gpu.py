"""On one NVIDIA GPU, time v1 against the notebook's loop with data loading, and profile a step of each version.

The targets are for an H100 or H200; `--minutes` limits the time. Without a GPU it measures nothing. `--device cpu
--quick` runs the same code on the processor with tiny networks, to test the script.

Ctrl-C and SIGTERM end it with the table of the measurements so far. The JSON file is written after each version.
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
from measuring import claims, kernels, notebook, pictures, worker
from measuring.claims import Benchmark, Claim
from measuring.device import block, has_bf16, matrix_peak
from measuring.ours import Ours
from measuring.traffic import Traffic, memory_peak

from ganealogy.adversary.divergence import Diverged
from ganealogy.data.batches import Batches
from ganealogy.errors import GanealogyError, one_line
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import FeatureSet, extract, load_extractor
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
"""Pixels per side; the notebook's networks support no other size."""
QUICK = ["v1", "v11", "v14", "v16", "mnist-dcgan"]
"""One version per kind: plain, EMA of G, attention, R3GAN, the simultaneous game."""
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
PLAIN, UNTUNED, DETERMINISTIC = "as it trains", "without cudnn.benchmark", "deterministic"
NO_GRAPHS = "without CUDA graphs"
VARIANTS = (PLAIN, UNTUNED, DETERMINISTIC, NO_GRAPHS)


def set_up(given: argparse.Namespace, quick: bool) -> None:
    """Set up torch as a train stage does, and store the sizes in `given`."""
    memory.keep_freed()
    torch.set_num_threads(given.threads)
    use_deterministic_algorithms()  # cuBLAS reads its environment once, so before the next line
    torch.use_deterministic_algorithms(False)  # the default of params.yaml
    torch.backends.cudnn.benchmark = True  # the default of params.yaml
    given.batch_size, given.width, given.count, given.side, given.matrix = 128, 64, 4000, SIZE, 8192
    given.features, given.most_features, given.copied, given.at_once = 10_000, 50_000, 2**30, [1, 2, 4]
    if quick:
        given.batch_size, given.width, given.count, given.side, given.matrix = 8, 8, 64, 32, 256
        given.rounds, given.steps, given.profiled_steps = 1, 1, 1
        given.features, given.most_features, given.copied, given.at_once = 256, 300, 2**20, [1, 2]
    if given.versions is None:
        given.versions = QUICK if quick else every_version()


def every_version() -> list[str]:
    """Return v1, v2, …, then the other roots."""
    names = [path.stem for path in (claims.ROOT / "versions").glob("*.yaml")]
    return sorted(names, key=lambda name: (not name[1:].isdigit(), int(name[1:]) if name[1:].isdigit() else 0, name))


def against_the_notebook(bench: Benchmark, given: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Time a step of v1 at 64x64, sides alternating: without data loading, then with each side's own."""
    device, steps = given.device, given.steps
    peer = notebook.Notebook(given.batch_size, given.width, device=device)
    batches = Batches(pictures.packed(given.count, SIZE), given.batch_size, 0, device)
    ours = {
        f"ours {name}": Ours(batches, "v1", device, bench.note, precision=name, width=given.width) for name in peaks
    }
    still = batches.batch(0)
    still_nchw = still.contiguous()
    # The notebook's loop uses torch's defaults.
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
            bench.measured(what, statistics.median(values) * 1000, "ms per step", claims.spread(values, 1e3))
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


def side_by_side(bench: Benchmark, given: argparse.Namespace) -> None:
    """Time several trainings of v1 on the card at once, as `train.runs_per_gpu` does."""
    precision, sizes = "fp32" if given.device == "cpu" else "tf32", (given.batch_size, given.width, given.side)
    alone = 0.0
    for number in given.at_once:
        rate = worker.together(number, given.device, precision, (20 * given.steps, *sizes))
        alone = alone or rate
        bench.measured(f"v1, {number} at a time, {precision}", rate, "images/s", f"{rate / alone:.2f} x those of one")


def evaluation(bench: Benchmark, given: argparse.Namespace) -> float:
    """Time the features of pictures, and each metric with as many features as usual. Returns the seconds of all."""
    extractor = load_extractor("effnet_lite0", given.device)
    images = pictures.packed(given.count, given.side)
    extract(extractor, images[:BATCH], "warm-up")
    seconds = claims.timed(lambda: extract(extractor, images, "features"))
    bench.measured(f"features by {extractor.name}", len(images) / seconds, "images/s", f"{given.side} pixels per side")
    return metrics(bench, given.features, given.device, extractor)


def more_metrics(bench: Benchmark, given: argparse.Namespace, before: float) -> None:
    """Time the metrics with as many features as in papers. `before`: seconds with fewer."""
    # Distances between all pairs take most of the time.
    if time.monotonic() + before * (given.most_features / given.features) ** 2 > given.deadline:
        bench.note(f"metrics of {given.most_features:,} left out for --minutes {given.minutes:g}")
        return
    metrics(bench, given.most_features, given.device, load_extractor("effnet_lite0", given.device))


def metrics(bench: Benchmark, count: int, device: str, extractor: Extractor) -> float:
    """Time the metrics in the order of the evaluation: later ones reuse the intermediate results of earlier ones.

    Returns the seconds of all.
    """
    rng = np.random.default_rng(0)
    shape, falling = (count, extractor.dimension), 0.997 ** np.arange(extractor.dimension, dtype=np.float32)
    fakes, reals, holdout = (
        FeatureSet(rng.standard_normal(shape, np.float32) * falling + np.float32(shift), device)
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
            bench.note(f"{names} of {count:,}: not measured: {error}")
            continue
        total += seconds
        bench.measured(f"metrics of {count:,}: {names}", seconds, "s")
    bench.measured(f"metrics of {count:,}, all", total, "s", "fakes, reals and held-out reals")
    return total


def tree(bench: Benchmark, given: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Profile each version, as long as there is time for one as slow as the slowest so far."""
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
        work = partial(profile_version, bench, given, version, batches, precision, peaks[precision])
        found = attempt(bench, given, version, work)
        if found is not None:
            seen[version] = found
        longest = max(longest, time.monotonic() - began)
        bench.claims[before:] = worst(seen) if seen else []
        bench.save()


def attempt(bench: Benchmark, given: argparse.Namespace, name: str, work: Callable[[], T]) -> T | None:
    """Run a part. If it fails, note the reason and return None, so that the other parts still run."""
    result = None
    try:
        result = work()
    except (Diverged, GanealogyError, ImportError, RuntimeError) as error:
        bench.note(f"{name} is not measured: {one_line(error)}")
    # A training state and its graph refer to each other: only a collection frees them and their GPU memory.
    gc.collect()
    if given.device != "cpu":
        torch.cuda.empty_cache()
    return result


def worst(seen: dict[str, tuple[float, float, float]]) -> list[Claim]:
    """Return the claims about all versions, each for its worst version."""
    bounds = {
        "share of the time without the networks' own kernels": (10.0, "%"),
        "share of the kernels' time that is not the networks' own": (10.0, "%"),
        "host waits per step between two ticks": (0.0, ""),
    }
    found = []
    for index, (text, (target, unit)) in enumerate(bounds.items()):
        version = max(seen, key=lambda version: seen[version][index])
        found.append(Claim(f"{text}, at most ({version})", seen[version][index], target, unit, at_least=False))
    return found


def prepared(
    bench: Benchmark, given: argparse.Namespace, version: str, batches: Batches, precision: str, variant: str
) -> Ours:
    """Return our side for one variant: a CUDA graph keeps the settings under which it was recorded."""
    with patch.dict(os.environ, {GRAPHS: "0"} if variant == NO_GRAPHS else {}):
        return Ours(
            batches,
            version,
            given.device,
            lambda text: bench.note(f"{version}, {variant}: {text}"),
            precision=precision,
            width=given.width,
            image_size=given.side,
        )


def profile_version(
    bench: Benchmark, given: argparse.Namespace, version: str, batches: Batches, precision: str, peak: float
) -> tuple[float, float, float]:
    """Profile a version.

    Returns the time without kernels of the network in %, the kernel time that is not the network's in %, and the host
    waits per step.
    """
    sides = {variant: prepared(bench, given, version, batches, precision, variant) for variant in VARIANTS}
    blocks = {variant: under(variant, block(side.step, given.steps, given.device)) for variant, side in sides.items()}
    side = sides[PLAIN]
    try:
        with_setting(DETERMINISTIC, sides[DETERMINISTIC].step)
    except RuntimeError as refusal:
        del blocks[DETERMINISTIC]
        bench.note(f"{version} has no deterministic form: {one_line(refusal)}")
    times = claims.in_turns(blocks, given.rounds)
    seconds = statistics.median(times[PLAIN])
    spread = f"{claims.spread(times[PLAIN], 1e3)}, ms per step"
    bench.measured(f"{version}: rate", side.batch_size / seconds, "images/s", spread)

    profile = kernels.profiled(side.eager_step, given.profiled_steps, given.device)
    wall = seconds * 1000
    # Profiling slows the host but not the kernels, so the total time is measured without it.
    rest, foreign = 1 - min(1.0, profile.busy / wall), 1 - profile.network / profile.work
    others = ", ".join(f"{name} {taken / profile.work:.1%}" for name, taken in profile.others)
    bench.measured(f"{version}: no kernel runs", 100 * rest, "% of the time", f"{profile.busy:.3g} of {wall:.3g} ms")
    bench.measured(f"{version}: not the network's", 100 * foreign, "% of the kernel time", f"most: {others}")
    if given.device == "cpu":
        waited, places = profile.reads, "numbers read"
    else:
        found = kernels.waits(side.step, REPORT_EVERY)
        waited = found.total() / REPORT_EVERY
        places = ", ".join(f"{place} {count / REPORT_EVERY:g}" for place, count in found.most_common(5))
    bench.measured(f"{version}: the host waits", waited, "times per step", places)
    for variant in VARIANTS:
        if variant != PLAIN and variant in times:
            bench.measured(f"{version}: {variant}", claims.ratio(times[variant], times[PLAIN]), "x its time")
    achieved(bench, version, side, seconds, peak)
    with Traffic() as traffic:
        side.eager_step()
    rate = traffic.total / seconds
    share = (
        f"{rate / given.bandwidth:.1%} of a copy's; {traffic.total / 1e9:.3g} GB a step, each tensor in and out once"
    )
    bench.measured(f"{version}: traffic", rate / 1e9, "GB/s", share)
    sampled(bench, given, version, side)
    return 100 * (1 - min(1.0, profile.network / wall)), 100 * foreign, waited


def sampled(bench: Benchmark, given: argparse.Namespace, version: str, side: Ours) -> None:
    z = latents.sample_latents(side.plan["recipe"]["latent"], given.count, latents.SAMPLE_SEED)
    generate(side.state.eval_generator, z[:BATCH])
    seconds = claims.timed(lambda: generate(side.state.eval_generator, z))
    bench.measured(f"{version}: sampling", given.count / seconds, "images/s", "in fp32, to bytes in host memory")


def under(variant: str, run: Callable[[], T]) -> Callable[[], T]:
    """Return a function that runs `run` under the torch settings of a variant."""
    return lambda: with_setting(variant, run)


def with_setting(variant: str, run: Callable[[], T]) -> T:
    torch.use_deterministic_algorithms(variant == DETERMINISTIC)
    torch.backends.cudnn.benchmark = variant in (PLAIN, NO_GRAPHS)
    try:
        return run()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = True


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--versions", nargs="+", metavar="VERSION", help="default: all")
    parser.add_argument("--precision", default="bf16", choices=list(TYPES), help="of the versions (v1: all)")
    parser.add_argument("--minutes", type=float, default=9, metavar="M", help="start no version that would end later")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps per round")
    parser.add_argument("--profiled-steps", type=int, default=5, help="steps under the profiler")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("GANEALOGY_THREADS", 2)))


def describe_device(device: str) -> tuple[str, str]:
    """Return the device's name, and details such as the versions of driver and torch."""
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
        bench.note("no GPU here: nothing is measured (--device cpu --quick tests the script itself)")
        bench.finish()
        return
    with bench.finished_in_any_case():
        set_up(given, bench.quick)
        name, detail = describe_device(given.device)
        bench.measured("device", name, "", detail)
        peaks = {}
        for precision in precisions(given.device):
            with float32_as(precision):
                peaks[precision] = matrix_peak(TYPES[precision], given.matrix, given.device)
            best = "the better of torch.mm and a convolution"
            bench.measured(f"matrix peak, {precision}", peaks[precision] / 1e12, "TFLOP/s", best)
        attempt(bench, given, "v1 beside the notebook", lambda: against_the_notebook(bench, given, peaks))
        given.bandwidth = memory_peak(given.copied, given.device)
        bench.measured("memory, a copy", given.bandwidth / 1e9, "GB/s", "read and written")
        attempt(bench, given, "v1, several at a time", lambda: side_by_side(bench, given))
        taken = attempt(bench, given, "the evaluation", lambda: evaluation(bench, given))
        bench.save()
        tree(bench, given, peaks)
        if taken is not None:
            attempt(bench, given, "the evaluation of more", lambda: more_metrics(bench, given, taken))
        if given.device == "cpu":
            bench.note("measured on the CPU: a test of the script, without meaning for a GPU")


if __name__ == "__main__":
    main()
