"""Compare the preprocess stage with torchvision's transforms in a DataLoader with as many workers: JPEGs to an array.

Each side runs in its own process; the sides alternate. `peer` uses the notebook's transforms and saves the pictures as
one array. `lean` produces bytes instead of normalised floats, the fastest way with torchvision. Ours also hashes, drops
duplicates, splits, and lists rejected pictures. Memory is measured with a quarter of the pictures and with all.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from measuring import claims

from ganealogy.record_types import DatasetSettings

SIZE = 64
NATIVE = (178, 218)
"""CelebA's aligned pictures."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=["ours", "peer", "lean", "draw"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)


def main() -> None:
    bench, given = claims.begin("Preprocess: JPEGs to a packed array at 64x64", __doc__, options)
    if given.side:
        began_children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if given.side in ("peer", "lean"):
            import torch

            torch.set_num_threads(1)
        work = SIDES[given.side](given.folder, given.count)  # imports are not compared
        seconds = claims.timed(work)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        workers = max(began_children, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        print(json.dumps({"seconds": seconds, "peak_mib": peak / 1024, "worker_mib": workers / 1024}))
        return
    count, rounds = (48, 1) if bench.quick else (given.count, given.rounds)
    root = Path(tempfile.mkdtemp(prefix="ganealogy-bench-"))
    try:
        alone("draw", root / "all", count)
        if not bench.quick:
            alone("draw", root / "quarter", count // 4)
        results: dict[str, list[dict[str, Any]]] = {"peer": [], "ours": [], "lean": []}
        for number in range(rounds):
            for side in list(results) if number % 2 == 0 else reversed(results):
                results[side].append(alone(side, root / "all", count))
        quarter = results["ours"][0] if bench.quick else alone("ours", root / "quarter", count // 4)
    finally:
        shutil.rmtree(root)

    times = {side: [result["seconds"] for result in each] for side, each in results.items()}
    labels = {
        "peer": "the notebook's transforms in a DataLoader",
        "lean": "the same without floats",
        "ours": "ganealogy preprocess",
    }
    for side, label in labels.items():
        median = statistics.median(times[side])
        peaks = results[side][-1]
        detail = (
            f"{count / median:,.0f} pictures/s; peak {peaks['peak_mib']:.0f} MiB + {peaks['worker_mib']:.0f} per worker"
        )
        bench.measured(label, median, "s", detail)
    grown = results["ours"][-1]["peak_mib"] - quarter["peak_mib"]
    bench.measured(f"memory at {count // 4} pictures", quarter["peak_mib"], "MiB")
    bench.measured(f"memory at {count} pictures", results["ours"][-1]["peak_mib"], "MiB")
    bench.measured(
        "against transforms without floats", claims.ratio(times["lean"], times["ours"]), "x", "for comparison"
    )
    bench.claim(f"{count} JPEGs to packed", claims.ratio(times["peer"], times["ours"]), 2)
    bench.claim("memory growth with four times the pictures", grown, 64, "MiB", at_least=False)
    bench.finish()


def alone(side: str, folder: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def draw(folder: Path, count: int) -> Callable[[], object]:
    """Write `folder`/jpegs, and `folder`/raw as `download` does."""
    from measuring import pictures

    from ganealogy.data import download

    def work() -> None:
        pictures.write_jpegs(folder / "jpegs", count, *NATIVE)
        download.download(dataset(folder), folder / "raw")

    return work


def dataset(folder: Path) -> DatasetSettings:
    from ganealogy.params.schema import Dataset

    settings = Dataset(name="folder", path=str((folder / "jpegs").resolve()), image_size=SIZE).model_dump()
    return cast("DatasetSettings", settings)


def ours(folder: Path, _count: int) -> Callable[[], object]:
    from ganealogy.data.preprocess import preprocess
    from ganealogy.runtime import memory

    memory.keep_freed()  # as the stage does
    settings = dataset(folder)
    return lambda: preprocess(settings, folder / "raw", folder / "packed")


def peer(folder: Path, _count: int) -> Callable[[], object]:
    from measuring import notebook
    from torch.utils.data import DataLoader

    from ganealogy.data import workers

    def work() -> None:
        loader = DataLoader(notebook.dataset(folder / "jpegs", SIZE), 256, num_workers=workers.count())
        save(folder, [batch.mul(127.5).add(127.5).round().byte() for batch, _label in loader])

    return work


def lean(folder: Path, _count: int) -> Callable[[], object]:
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    from ganealogy.data import workers

    steps = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.PILToTensor()])

    def work() -> None:
        loader = DataLoader(ImageFolder(str(folder / "jpegs"), transform=steps), 256, num_workers=workers.count())
        save(folder, [batch for batch, _label in loader])

    return work


def save(folder: Path, batches: list[Any]) -> None:
    """Save batches of bytes (N, C, H, W) as one array (N, H, W, C)."""
    import numpy as np
    import torch

    np.save(folder / "peer.npy", torch.cat(batches).permute(0, 2, 3, 1).numpy())


SIDES = {"ours": ours, "peer": peer, "lean": lean, "draw": draw}

if __name__ == "__main__":
    main()
