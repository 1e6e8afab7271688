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
from measuring import claims, device, notebook, pictures
from measuring.ours import Ours

from ganealogy import process
from ganealogy.data.batches import Batches
from ganealogy.lineage import flops

SIZE = 64


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
    ours = {"ours fp32": Ours(batches, precision="fp32", width=width)}
    if device.has_bf16():
        ours["ours bf16"] = Ours(batches, precision="bf16", width=width)
    learner = ours["ours fp32"].learner
    for mine, theirs in ((learner.discriminator, peer.discriminator), (learner.generator, peer.generator)):
        if parameters(mine) != parameters(theirs):
            raise AssertionError("the two sides do not train the same networks")

    still = batches.batch(0).contiguous()
    dry: dict[str, Callable[[], float]] = {"notebook": device.block(lambda: peer.step(still), steps)}
    still_nhwc = batches.batch(0)
    for name, side in ours.items():
        dry[name] = device.block(lambda side=side: side.step(still_nhwc), steps)  # type: ignore[misc]
    seconds = claims.in_turns(dry, rounds)

    folder = Path(tempfile.mkdtemp(prefix="ganealogy-bench-"))
    try:
        pictures.write_jpegs(folder, count if not bench.quick else 128, 96, 96)
        fed: dict[str, Callable[[], float]] = {"notebook": notebook.fed(peer, folder, SIZE, steps)}
        for name, side in ours.items():
            fed[name] = device.block(side.step, steps)
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
        peak = device.matrix_peak(torch.bfloat16 if name.endswith("bf16") else torch.float32, size)
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
    bench.note("A GPU's part of this claim is gpu.py")
    bench.finish()


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
