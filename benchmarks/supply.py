"""Time batches from the packed array against ImageFolder with a DataLoader, and as a share of a training step."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import claims, notebook, pictures
from measuring.ours import Ours

from ganealogy.data import packed
from ganealogy.data.batches import Batches
from ganealogy.runtime import memory, process

SIZE = 64


def main() -> None:
    bench, _given = claims.begin("Batch supply at 64x64", __doc__)
    rounds, count, batch_size, width, ours_steps, step_rounds = 5, 4096, 128, 64, 200, 5
    if bench.quick:
        rounds, count, batch_size, width, ours_steps, step_rounds = 1, 128, 16, 8, 20, 1
    memory.keep_freed()
    torch.set_num_threads(process.threads(os.cpu_count() or 1))
    folder = Path(tempfile.mkdtemp(prefix="ganealogy-bench-"))
    try:
        pictures.write_jpegs(folder / "jpegs", count, 96, 96)
        (folder / "packed").mkdir()
        np.save(folder / "packed" / "train.npy", pictures.packed(count, SIZE))
        batches = Batches(packed.open_split(folder / "packed", "train"), batch_size, seed=0)
        step = iter(range(10**9))

        def ours() -> float:
            return claims.timed(lambda: [batches.batch(next(step)) for _ in range(ours_steps)]) / ours_steps

        seconds = claims.in_turns({"loader": epoch(folder / "jpegs", batch_size), "ours": ours}, rounds)
        trainer = Ours(batches, width=width)
        steps = [claims.timed(trainer.step) for _ in range(step_rounds + 1)][1:]
    finally:
        shutil.rmtree(folder)

    for name, label in (("loader", "ImageFolder + DataLoader, 3 workers"), ("ours", "packed array")):
        each = statistics.median(seconds[name])
        bench.measured(label, batch_size / each, "images/s", f"{each * 1000:.2f} ms per batch of {batch_size}")
    share = statistics.median(seconds["ours"]) / statistics.median(steps)
    bench.measured("v1's step, data included", statistics.median(steps) * 1000, "ms", "fp32")
    bench.claim("packed array against ImageFolder + DataLoader", claims.ratio(seconds["loader"], seconds["ours"]), 20)
    bench.claim("share of a training step", 100 * share, 3, "%", at_least=False)
    bench.note("The DataLoader has the whole machine here; in a training it shares the cores")
    bench.finish()


def epoch(folder: Path, batch_size: int) -> Callable[[], float]:
    """Return a block that measures seconds per batch over one epoch, without the start of the workers.

    The epoch is long enough that prefetched batches do not count.
    """

    def block() -> float:
        batches = iter(notebook.loader(folder, SIZE, batch_size))
        taken = [0]
        next(batches)

        def drain() -> None:
            for _ in batches:
                taken[0] += 1

        return claims.timed(drain) / max(1, taken[0])

    return block


if __name__ == "__main__":
    main()
