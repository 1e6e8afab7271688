"""One training step of v1 against the notebook's, in turns in one process, without and with data loading.

v1's exact game at 64x64: in fp32, and in bf16 where the processor has it. Also: how near to the machine's matrix peak.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import claims, family, notebook, pictures

from ganealogy import process
from ganealogy.data.batches import Batches
from ganealogy.lineage import flops
from ganealogy.training.learner import Learner
from ganealogy.training.loop import step_seed

SIZE = 64


class Ours:
    """What the training loop does between two ticks."""

    def __init__(self, batches: Batches, precision: str, batch_size: int, width: int) -> None:
        self.plan = family.plan("v1", precision=precision, batch_size=batch_size, width=width)
        torch.manual_seed(step_seed(0, "initialise"))
        self.learner = Learner(self.plan["recipe"], self.plan["protocol"], "cpu")
        self.batches, self.sums = batches, {}  # type: ignore[var-annotated]
        self.done = 0

    def step(self, still: torch.Tensor | None = None) -> None:
        """`still`: a batch to use in place of the next one, to leave the data out."""
        self.done += 1
        torch.manual_seed(step_seed(0, self.done))
        reals, classes = self.batches.window(self.done - 1)
        game = self.learner.game
        statistics = game.step(reals if still is None else lambda _index: still, classes, progress=0.5)
        for name, value in statistics.items():
            self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()


def repeated(step: Callable[[], object], steps: int) -> Callable[[], float]:
    def block() -> float:
        return claims.timed(lambda: [step() for _ in range(steps)]) / steps

    return block


def with_loader(peer: notebook.Notebook, folder: Path, steps: int) -> Callable[[], float]:
    """The notebook's steps with its data. The batches that were made ahead are not timed: no epoch lives on them, and
    the workers end before anybody else's turn."""

    def block() -> float:
        batches = notebook.endless(notebook.loader(folder, SIZE, peer.batch_size))
        for _ in range(notebook.PREFETCHED):
            peer.step(next(batches))
        seconds = claims.timed(lambda: [peer.step(next(batches)) for _ in range(steps)]) / steps
        batches.close()  # type: ignore[attr-defined]
        return seconds

    return block


def matrix_peak(dtype: torch.dtype, size: int) -> float:
    """Operations a second of this machine's best matrix product.

    As `torch.mm`, size x size, and as a 3x3 convolution: two libraries, and on AMD's processors the first one's fp32
    runs at less than half of what the second reaches.
    """
    matrix = torch.randn(size, size).to(dtype)
    image = torch.randn(8, size // 8, 32, 32).to(dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(size // 8, size // 8, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    products = {
        2 * size**3: lambda: torch.mm(matrix, matrix),
        2 * 8 * 30 * 30 * (size // 8) ** 2 * 9: lambda: F.conv2d(image, kernel),
    }
    with torch.inference_mode():
        return max(
            operations / min(claims.timed(product) for _ in range(8)) for operations, product in products.items()
        )


def has_bf16() -> bool:
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("GANEALOGY_THREADS", 0)) or os.cpu_count())


def main() -> None:
    bench, given = claims.begin("Training: v1 at 64x64 on the CPU", __doc__, options)
    rounds, steps, batch_size, width, count = given.rounds, given.steps, 128, 64, 1500
    if bench.quick:
        rounds, steps, batch_size, width, count = 1, 1, 8, 8, 64
    process.keep_memory()  # as every stage does
    torch.set_num_threads(given.threads)

    peer = notebook.Notebook(batch_size, width)
    batches = Batches(pictures.packed(count, SIZE), batch_size, seed=0)
    ours = {"ours fp32": Ours(batches, "fp32", batch_size, width)}
    if has_bf16():
        ours["ours bf16"] = Ours(batches, "bf16", batch_size, width)
    learner = ours["ours fp32"].learner
    for mine, theirs in ((learner.discriminator, peer.discriminator), (learner.generator, peer.generator)):
        if parameters(mine) != parameters(theirs):
            raise AssertionError("the two sides do not train the same networks")

    still = batches.batch(0).contiguous()
    dry: dict[str, Callable[[], float]] = {"notebook": repeated(lambda: peer.step(still), steps)}
    still_nhwc = batches.batch(0)
    for name, side in ours.items():
        dry[name] = repeated(lambda side=side: side.step(still_nhwc), steps)  # type: ignore[misc]
    seconds = claims.in_turns(dry, rounds)

    folder = Path(tempfile.mkdtemp(prefix="ganealogy-bench-"))
    try:
        pictures.write_jpegs(folder, count if not bench.quick else 128, 96, 96)
        fed: dict[str, Callable[[], float]] = {"notebook": with_loader(peer, folder, steps)}
        for name, side in ours.items():
            fed[name] = repeated(side.step, steps)
        fed_seconds = claims.in_turns(fed, rounds, warm_up=0)
    finally:
        shutil.rmtree(folder)

    for label, times in (("without data", seconds), ("with data", fed_seconds)):
        for name, values in times.items():
            bench.measured(
                f"{name}, {label}", statistics.median(values) * 1000, "ms a step", claims.spread(values, 1e3)
            )
    size = 256 if bench.quick else 2048
    operations = flops.per_image(ours["ours fp32"].plan["recipe"], ours["ours fp32"].plan["protocol"]) * batch_size
    bench.measured("operations", operations / 1e9, "GFLOP a step", "counted by ganealogy.lineage.flops")
    for name in ours:
        peak = matrix_peak(torch.bfloat16 if name.endswith("bf16") else torch.float32, size)
        achieved = operations / statistics.median(fed_seconds[name])
        bench.measured(f"{name}: achieved", achieved / 1e9, "GFLOP/s", f"{achieved / peak:.0%} of the matrix peak")
        bench.measured(f"{name}: matrix peak", peak / 1e9, "GFLOP/s", "the better of torch.mm and a convolution")
    bench.measured("threads", given.threads)

    bench.claim("fp32, without data loading", claims.ratio(seconds["notebook"], seconds["ours fp32"]), 1.5)
    bench.claim("fp32, with data loading", claims.ratio(fed_seconds["notebook"], fed_seconds["ours fp32"]), 1.7)
    if "ours bf16" in ours:
        bench.claim("bf16, with data loading", claims.ratio(fed_seconds["notebook"], fed_seconds["ours bf16"]), 2.5)
        bench.measured(
            "bf16, without data loading", claims.ratio(seconds["notebook"], seconds["ours bf16"]), "x", "for comparison"
        )
    else:
        bench.note("bf16 is not measured: this processor has none")
    bench.note("A GPU's part of this claim is not written: no script here has run on one")
    bench.finish()


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
