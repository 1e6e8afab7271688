"""Time a training step of v1 at 64x64 against the notebook's and against the matrix peak.

Without and with data loading, in fp32, and in bf16 if the processor supports it. Each side runs in its own process; the
sides alternate. Ours sets the allocator as the stages do, the notebook uses the default.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
from pathlib import Path

import torch
from measuring import claims, contender, device, family, notebook, pictures
from measuring.contender import Contender
from measuring.ours import Ours

from ganealogy.data.batches import Batches
from ganealogy.lineage import flops
from ganealogy.runtime import memory

SIZE = 64
DRY, FED = "without data", "with data"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3, help="steps per round")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("GANEALOGY_THREADS", 0)) or os.cpu_count())
    parser.add_argument("--side", choices=["notebook", "fp32", "bf16"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)


def main() -> None:
    bench, given = claims.begin("Training: v1 at 64x64 on the CPU", __doc__, options)
    rounds, steps, batch_size, width, count = given.rounds, given.steps, 128, 64, 1500
    if bench.quick:
        rounds, steps, batch_size, width, count = 1, 1, 8, 8, 128
    torch.set_num_threads(given.threads)
    if given.side:
        serve(given.side, given.folder, steps, batch_size, width, count)
        return

    sides = {"notebook": "notebook", "ours fp32": "fp32", **({"ours bf16": "bf16"} if device.has_bf16() else {})}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ganealogy-bench-"))
        pictures.write_jpegs(Path(folder), count, 96, 96)
        arguments = ["--steps", str(steps), "--threads", str(given.threads), *(["--quick"] if bench.quick else [])]
        started = {
            name: stack.enter_context(Contender(__file__, "--side", side, "--folder", folder, *arguments))
            for name, side in sides.items()
        }
        seconds = claims.in_turns({name: side.turn(DRY) for name, side in started.items()}, rounds)
        fed_seconds = claims.in_turns({name: side.turn(FED) for name, side in started.items()}, rounds)

    for label, times in ((DRY, seconds), (FED, fed_seconds)):
        for name, values in times.items():
            bench.measured(
                f"{name}, {label}", statistics.median(values) * 1000, "ms per step", claims.spread(values, 1e3)
            )
    size = 256 if bench.quick else 2048
    plan = family.plan("v1", batch_size=batch_size, width=width)
    operations = flops.per_image(plan["recipe"], plan["protocol"]) * batch_size
    bench.measured("operations", operations / 1e9, "GFLOP per step", "counted by ganealogy.lineage.flops")
    for name, side in sides.items():
        if side == "notebook":
            continue
        peak = device.matrix_peak(torch.bfloat16 if side == "bf16" else torch.float32, size)
        achieved = operations / statistics.median(fed_seconds[name])
        bench.measured(f"{name}: achieved", achieved / 1e9, "GFLOP/s", f"{achieved / peak:.0%} of the matrix peak")
        bench.measured(f"{name}: matrix peak", peak / 1e9, "GFLOP/s", "the better of torch.mm and a convolution")
    bench.measured("threads", given.threads)

    bench.claim("fp32, without data loading", claims.ratio(seconds["notebook"], seconds["ours fp32"]), 1.5)
    bench.claim("fp32, with data loading", claims.ratio(fed_seconds["notebook"], fed_seconds["ours fp32"]), 1.7)
    if "ours bf16" in sides:
        bench.claim("bf16, with data loading", claims.ratio(fed_seconds["notebook"], fed_seconds["ours bf16"]), 2.5)
        bench.measured(
            "bf16, without data loading", claims.ratio(seconds["notebook"], seconds["ours bf16"]), "x", "for comparison"
        )
    else:
        bench.note("bf16 is not measured: this processor does not support it")
    bench.note("For a GPU see gpu.py")
    bench.finish()


def serve(side: str, folder: Path, steps: int, batch_size: int, width: int, count: int) -> None:
    """Run one side, block by block, until the parent process closes the pipe."""
    if side == "notebook":
        peer = notebook.Notebook(batch_size, width)
        still = torch.randn(batch_size, 3, SIZE, SIZE).clamp(-1, 1)
        fed = notebook.fed(peer, folder, SIZE, steps)
        contender.serve({DRY: device.block(lambda: peer.step(still), steps), FED: fed})
        return
    memory.keep_freed()
    batches = Batches(pictures.packed(count, SIZE), batch_size, seed=0)
    ours = Ours(batches, precision=side, width=width)
    same_networks(ours, notebook.Notebook(batch_size, width))
    still = batches.batch(0)
    contender.serve({DRY: device.block(lambda: ours.step(still), steps), FED: device.block(ours.step, steps)})


def same_networks(ours: Ours, peer: notebook.Notebook) -> None:
    state = ours.state
    for mine, theirs in ((state.discriminator, peer.discriminator), (state.generator, peer.generator)):
        if parameters(mine) != parameters(theirs):
            raise AssertionError("the two sides do not train the same networks")


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
