"""Test whether bf16 trains as well as fp32: two one-sided tests on the final distance.

Trains v1 at 32x32 on synthetic faces, `--runs` short runs per precision, each with its own seed. Compares the final
Frechet distance of 8x8 pixels on a log scale: equivalent if the 90 % interval of the ratio of geometric means is within
[1/MARGIN, MARGIN], the margin of bioequivalence.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import claims, family, pictures
from measuring.device import has_bf16

from ganealogy.runtime import memory, process
from ganealogy.training import loop
from ganealogy.training.run_files import RunFiles

MARGIN = 1.25
ALPHA = 0.05


class Silent:
    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...
    def should_stop(self) -> bool:
        return False

    def on_warning(self, text: str) -> None: ...


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=10, help="per precision; at least 8 for a verdict")
    parser.add_argument("--kimg", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=2)


def main() -> None:
    bench, given = claims.begin("bf16 against fp32: final distance", __doc__, options)
    runs, kimg, width, count = (2, 0.128, 8, 200) if bench.quick else (given.runs, given.kimg, 32, 4000)
    memory.keep_freed()
    torch.set_num_threads(process.threads(given.threads))
    images = pictures.packed(count, 32)
    scores: dict[str, list[float]] = {"fp32": [], "bf16": []}
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for seed in range(runs):
        for precision in scores:
            score, taken = trained(images, precision, 1000 * (precision == "bf16") + seed, kimg, width)
            scores[precision].append(score)
            seconds[precision].append(taken)
    for precision, values in scores.items():
        mean = math.exp(float(np.log(values).mean()))
        bench.measured(f"{precision}: fd_pixel8 at the end", mean, "", f"geometric mean; {claims.spread(values)}")
        bench.measured(f"{precision}: a training", float(np.median(seconds[precision])), "s")
    low, high, p = equivalence(scores["bf16"], scores["fp32"])
    bench.measured(
        "bf16 / fp32, ratio of geometric means", math.sqrt(low * high), "", f"90 % interval {low:.3f} to {high:.3f}"
    )
    bench.claim(f"equivalent within a factor of {MARGIN}: p of the two one-sided tests", p, ALPHA, "", at_least=False)
    if not has_bf16():
        bench.note("This processor has no bf16 instructions: the distances are valid, the times are an emulation's")
    if runs < 8:
        bench.note("Fewer than 8 runs per precision: no verdict")
    bench.finish()


def trained(images: Any, precision: str, seed: int, kimg: float, width: int) -> tuple[float, float]:
    """Return the tracker's distance after the last step, and the seconds of the training."""
    protocol = {"image_size": 32, "batch_size": 32, "width": width, "precision": precision, "kimg": kimg}
    plan = family.plan("v1", **protocol, tracker_images=500)
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        files = RunFiles(Path(folder) / "train", Path(folder) / "checkpoints", {"version": "v1", "seed": seed})
        outcome = loop.train(plan, seed, loop.TrainingData(images), files, "cpu", Silent())
        last = json.loads(files.metrics.read_text().splitlines()[-1])
    return float(last["fd_pixel8"]), outcome.seconds


def equivalence(a: list[float], b: list[float], margin: float = MARGIN) -> tuple[float, float, float]:
    """Return the 90 % interval of the ratio of geometric means, and the larger of the one-sided p values (Welch).

    `margin`: the factor within which they count as equivalent.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind

    logs = np.log(a), np.log(b)
    bound = math.log(margin)
    p, _lower, _upper = ttost_ind(*logs, -bound, bound, usevar="unequal")
    low, high = CompareMeans(*map(DescrStatsW, logs)).tconfint_diff(alpha=2 * ALPHA, usevar="unequal")
    return math.exp(low), math.exp(high), float(p)


if __name__ == "__main__":
    main()
