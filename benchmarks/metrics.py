"""Time each metric of one run, from features to numbers, and measure the peak memory of the process.

Results of the reals alone (radii, KID's sums within their subsets) are timed separately: the reference stage caches
them. Also times the authors' packages on the same features, and estimates the time on a GPU by arithmetic.
`--count 50000` measures the size of papers, in a few minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from measuring import claims, memory

if TYPE_CHECKING:
    from ganealogy.evaluation.features import FeatureSet
    from ganealogy.evaluation.measure import Comparison, Metric

PEERS_AT = 4000
"""Most images per side for the packages, which hold whole matrices."""
CARDS = {"H100": (60e12, 3.35e12), "H200": (60e12, 4.8e12)}
"""Assumed: float64 operations per second of a large matrix product, and bytes per second of the GPU's memory."""
TILE = 4096
"""Images per side of a tile on a GPU; each tile's product reads its features again."""
# Bytes moved per pair of images, from the steps of neighbours.py, prdc.py and kid.py.
DISTANCE = 8 + 8 + 24 + 16 + 17 + 9  # scale, product, sum, noise, comparison, zeroing
MANIFOLDS = 9 + 1 + 1 + 9 + 1
NEAREST = 8  # per neighbour
RADII = 16 + 2 * 5 * 8  # transposed tile, and torch.topk of both, several passes
KERNEL = 8 + 16 + 16 + 16 + 8


class Network:
    """A stand-in for an extractor: the metrics use only its attributes."""

    name, network = "network", True
    protocol: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=10_000, help="images per side, and as many held-out ones")
    parser.add_argument("--dimension", type=int, default=1280)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="or cuda")


def main() -> None:
    bench, given = claims.begin("The metrics", __doc__, options)
    if bench.quick:
        given.count, given.dimension = 600, 64
    # Before numpy and torch are imported.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    one_run(bench, given)
    peers(bench, given, 1 if bench.quick else 3)
    estimate(bench, given.count, given.dimension)
    bench.finish()


def features(count: int, dimension: int, seed: int, device: str) -> FeatureSet:
    """Return random features (count, dimension): positive, correlated, of falling variance, as a network's are."""
    import numpy as np

    from ganealogy.evaluation.features import FeatureSet

    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, dimension), np.float32)
    values *= np.exp(-np.arange(dimension, dtype=np.float32) / 300)
    values += rng.standard_normal((count, 1), np.float32) + np.float32(0.2 * seed)
    return FeatureSet(np.abs(values, out=values), device)


def one_run(bench: claims.Benchmark, given: argparse.Namespace) -> None:
    import torch

    from ganealogy.evaluation.measure import METRICS, Comparison
    from ganealogy.evaluation.metrics import kid
    from ganealogy.runtime import memory as allocator

    allocator.keep_freed()  # as every stage does
    torch.set_num_threads(given.threads)
    extractor: Any = Network(given.dimension)
    fakes, reals, holdout = (features(given.count, given.dimension, seed, given.device) for seed in range(3))
    comparison = Comparison(extractor, fakes, reals, holdout=holdout)
    size = f"{given.count:,} per side, {given.dimension:,} dimensions, {given.threads} threads, {given.device}"
    bench.measured("memory of the process with the features of three sets", memory.mib("VmRSS"), "MiB", size)
    cached: dict[str, Callable[[], object]] = {
        "the reals' radii, cached by the reference stage": lambda: reals.squared_spacings,
        "the reals' sums for KID, cached too": lambda: reals.kernel_sums_as_reals(kid.setup(given.count, given.count)),
    }
    shared: dict[str, Callable[[], object]] = {
        "the reals' covariance": lambda: reals.moments,
        "the fakes' radii": lambda: fakes.squared_spacings,
        "nearest reals, with the counts for PRDC": lambda: comparison.neighbours,
        "the fakes' covariance": lambda: fakes.moments,
    }
    for name, work in cached.items():
        measured(bench, name, work)
    total = 0.0
    for name, work in shared.items():
        total += measured(bench, name, work)
    for metric in METRICS:
        if metric.applies(extractor):
            names = ", ".join(name.replace("_{}", "") for name in metric.names)
            total += measured(bench, names, partial(attempt, bench, metric, comparison))
    bench.measured("one run, in total", total, "s", size)
    what = f"one run's metrics of {given.count:,} per side in {given.dimension:,} dimensions, peak memory"
    bench.claim(what, memory.mib("VmHWM"), 4096, "MiB", at_least=False)


def attempt(bench: claims.Benchmark, metric: Metric, comparison: Comparison) -> None:
    from ganealogy.errors import GanealogyError

    try:
        metric.measure(comparison)
    except GanealogyError as error:  # FD∞ of few images
        bench.note(f"{metric.names[0].format('network')} is not measured: {error}")


def measured(bench: claims.Benchmark, name: str, work: Callable[[], Any]) -> float:
    """Record the wall-clock seconds, and the CPU seconds, which other work does not change. Return the former."""
    before = time.process_time()
    seconds = claims.timed(work)
    bench.measured(name, seconds, "s", f"{claims.shown(time.process_time() - before)} s of all cores")
    return seconds


def peers(bench: claims.Benchmark, given: argparse.Namespace, rounds: int) -> None:
    """Both sides from features alone, on the same threads: nothing of the reals is kept."""
    import torch
    from prdc import compute_prdc
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    from ganealogy.evaluation.metrics import kid, neighbours, prdc

    count = min(given.count, PEERS_AT)
    fakes, reals = (features(count, given.dimension, seed, given.device).values for seed in range(2))
    size = kid.subset_size(count, count)
    found: dict[str, float] = {}

    def ours() -> None:
        fake_radii, real_radii = (neighbours.squared_radii(side, prdc.K, given.device) for side in (fakes, reals))
        found["ours"] = prdc.prdc(fakes, reals, fake_radii, real_radii, device=given.device)["density"]

    def theirs() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package asks for eight threads
            found["theirs"] = float(compute_prdc(reals, fakes, prdc.K)["density"])

    def our_kid() -> None:
        found["our kid"] = kid.kid(fakes, reals, device=given.device).value

    def their_kid() -> None:
        sides = torch.from_numpy(fakes).double(), torch.from_numpy(reals).double()
        result = kid_features_to_metric(*sides, kid_subsets=kid.SUBSETS, kid_subset_size=size, verbose=False)
        found["their kid"] = result[KEY_METRIC_KID_MEAN]

    works = {"ours": ours, "prdc": theirs, "our KID": our_kid, "torch-fidelity": their_kid}
    contenders = {name: lambda work=work: claims.timed(work) for name, work in works.items()}
    seconds = claims.in_turns(contenders, rounds, warm_up=0 if bench.quick else 1)
    for name, taken in seconds.items():
        what = f"{'KID' if name in ('our KID', 'torch-fidelity') else 'PRDC'} of {count:,} per side, "
        bench.measured(what + name.replace("our KID", "ours"), statistics.median(taken), "s", claims.spread(taken))
    bench.claim("PRDC against the package prdc", claims.ratio(seconds["prdc"], seconds["ours"]), 1.5)
    bench.claim("KID against torch-fidelity", claims.ratio(seconds["torch-fidelity"], seconds["our KID"]), 2)
    bench.note(f"density is {found['ours']:.12g}, by prdc {found['theirs']:.12g}")
    bench.note(f"KID is {found['our kid']:.12g}, by torch-fidelity {found['their kid']:.12g}")


def estimate(bench: claims.Benchmark, count: int, dimension: int) -> None:
    """Estimate the seconds on a GPU: operations and bytes one after the other, at the rates assumed above."""
    from ganealogy.evaluation.measure import NEIGHBOURS
    from ganealogy.evaluation.metrics import fd_infinity, kid

    pairs = count**2
    in_subsets = min(pairs, kid.SUBSETS * kid.subset_size(count, count) ** 2)
    enough = count >= fd_infinity.MIN_IMAGES_PER_DIMENSION * dimension
    images = count + (sum(fd_infinity.counts(count, dimension)) if enough else 0)
    works = {  # pairs, or entries of a covariance; operations and bytes per pair
        "the fakes' radii": (pairs / 2, 2 * dimension, DISTANCE + RADII),
        "nearest reals, with the counts for PRDC": (pairs, 2 * dimension, DISTANCE + MANIFOLDS + NEAREST * NEIGHBOURS),
        "nearest held-out reals": (pairs, 2 * dimension, DISTANCE + NEAREST),
        "KID, sums of the fakes and between the sets": (2 * in_subsets, 2 * dimension, KERNEL),
        "covariances, of FD∞ too": (dimension**2, 2 * images, 8),
    }
    for card, (operations_a_second, bytes_a_second) in CARDS.items():
        total = 0.0
        for name, (times, operations, least) in works.items():
            moved = least + 8 * operations / TILE  # the features of both sides, per tile
            seconds = times * operations / operations_a_second + times * moved / bytes_a_second
            total += seconds
            bench.measured(f"ESTIMATE, {card}: {name}", seconds, "s")
        rates = f"{operations_a_second / 1e12:g} TFLOP/s in float64, {bytes_a_second / 1e12:g} TB/s assumed"
        bench.measured(f"ESTIMATE, {card}: one run on the GPU", total, "s", rates)
    bench.note(
        "The estimates are arithmetic, not measured on a GPU: at half of the assumed rates they are twice as long"
    )
    bench.note("They exclude the Fréchet distances, the Vendi score and the Inception score, which run on the host")


if __name__ == "__main__":
    main()
