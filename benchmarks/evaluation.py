"""Speed of the evaluation against its peers, in one run: medians of interleaved repetitions, and their ratios.

    python benchmarks/evaluation.py [--quick] [--images 192] [--threads 2] [--repeat 2] [--json FILE]

FID beside `python -m pytorch_fid` on the same folders of PNGs, whole processes on both sides: with nothing cached, and
with the reals' statistics in a file, ours in fp32 and bf16. The weights are seeded ones in the official file's format:
speed does not depend on their values. The Fréchet step beside scipy's matrix root, as pytorch-fid calls it. And PRDC's
memory.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
OURS = """
import sys
from pathlib import Path
import torch
from ganealogy import atomic
from ganealogy.evaluation import standalone
from ganealogy.evaluation.extractors import inception
inception.SHA256 = atomic.sha256(inception.weights_path())  # the seeded weights, taken for the published ones
torch.set_num_threads(int(sys.argv[1]))
result = standalone.run(Path(sys.argv[2]), Path(sys.argv[3]), [sys.argv[4]])
print("VALUE", next(value for name, value in result.metrics.items() if name in ("fid", "fd_inception_bf16")))
"""
SAVE = """
import sys
from pathlib import Path
from ganealogy import atomic
from ganealogy.evaluation import standalone
from ganealogy.evaluation.extractors import inception
inception.SHA256 = atomic.sha256(inception.weights_path())
standalone.run(Path(sys.argv[1]), None, [sys.argv[2]], save_statistics=Path(sys.argv[3]))
"""
PEAK = """
import resource, sys
import numpy as np
from ganealogy.evaluation import {module} as prdc
count, dimension = int(sys.argv[1]), 2048
rng = np.random.default_rng(0)
a, b = (rng.standard_normal((count, dimension), np.float32) for _ in range(2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("VALUE", {call} and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, before * 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few images once: shows that it runs, not how fast")
    parser.add_argument("--images", type=int, default=192, help="PNGs a side, 64x64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="FID of both folders alone, for thousands of images")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    given = parser.parse_args()
    if given.quick:
        given.images, given.repeat = 4, 1
    # Before numpy and torch are imported, here and in the processes that are started.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GANEALOGY_THREADS"):
        os.environ[name] = str(given.threads)
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    sys.path.insert(0, str(ROOT / "src"))
    rows = []
    if not given.plain:
        rows = [*frechet_rows(given.repeat, given.quick), *prdc_rows(500 if given.quick else 10_000)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [*fid_rows(Path(folder), given.images, given.threads, given.repeat, given.quick, given.plain), *rows]
    show(rows)
    if given.json:
        about = {"images": given.images, "threads": given.threads, "repeat": given.repeat, "quick": given.quick}
        given.json.write_text(json.dumps({"settings": about, "rows": rows}, indent=2) + "\n")


def fid_rows(
    folder: Path, count: int, threads: int, repeat: int, quick: bool, plain: bool = False
) -> list[dict[str, Any]]:
    """Whole commands, started one after the other in turn, so that a slow minute of the machine meets both sides."""
    weights = write_weights(folder)
    os.environ |= {"TORCH_HOME": str(folder / "torch"), "DVC_ROOT": str(folder)}
    kept = folder / "build" / "weights" / weights.name
    kept.parent.mkdir(parents=True)
    kept.hardlink_to(weights)
    reals, fakes = write_pictures(folder / "reals", count, 4), write_pictures(folder / "fakes", count, 6)
    their_file, our_file, our_bf16_file = (folder / f"{name}.npz" for name in ("theirs", "ours", "ours-bf16"))
    theirs = [sys.executable, "-W", "ignore", "-m", "pytorch_fid", "--device", "cpu"]
    theirs += ["--batch-size", str(min(50, count)), "--num-workers", "0" if threads == 1 else str(threads)]
    ours = [sys.executable, "-W", "ignore", "-c", OURS, str(threads)]
    commands = {
        "theirs": [*theirs, str(reals), str(fakes)],
        "fp32": [*ours, str(reals), str(fakes), "inception"],
    }
    if not plain:
        for extractor, file in (("inception", our_file), ("inception_bf16", our_bf16_file)):
            run([sys.executable, "-c", SAVE, str(reals), extractor, str(file)])
        commands |= {
            "fp32 cached": [*ours, str(our_file), str(fakes), "inception"],
            "bf16": [*ours, str(reals), str(fakes), "inception_bf16"],
            "bf16 cached": [*ours, str(our_bf16_file), str(fakes), "inception_bf16"],
        }
    if not quick and not plain:
        run([*theirs, "--save-stats", str(reals), str(their_file)])
        commands["theirs cached"] = [*theirs, str(their_file), str(fakes)]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    values: dict[str, float] = {}
    for _ in range(repeat):
        for name, command in commands.items():
            began = time.perf_counter()
            values[name] = run(command)
            seconds[name].append(time.perf_counter() - began)
    rows = []
    for what, name, peer in (
        ("FID, both folders", "fp32", "theirs"),
        ("FID, statistics of the reals kept", "fp32 cached", "theirs"),
        ("FID, statistics kept on both sides", "fp32 cached", "theirs cached"),
        ("FD in bf16, both folders", "bf16", "theirs"),
        ("FD in bf16, statistics of the reals kept", "bf16 cached", "theirs"),
        ("FD in bf16, statistics kept on both sides", "bf16 cached", "theirs cached"),
    ):
        if name in seconds and peer in seconds:
            note = f"{values[name]:.5g} beside {values[peer]:.5g}: {abs(values[name] / values[peer] - 1):.1e} apart"
            line = row(what, "python -m pytorch_fid", seconds[name], seconds[peer], note)
            rows.append(line | {"value": values[name], "peer_value": values[peer]})
    return rows


def frechet_rows(repeat: int, quick: bool) -> list[dict[str, Any]]:
    """From both sides' means and covariances to the distance, at d = 2048; `cold`: the reals' root is not there yet.

    Below d images we have no covariance, and the step begins at the centred features.
    """
    import numpy as np
    from pytorch_fid.fid_score import calculate_frechet_distance

    from ganealogy.evaluation.frechet import Moments, frechet_distance

    d = 128 if quick else 2048
    rng = np.random.default_rng(0)
    spectrum = np.exp(-np.arange(d) / 200)
    rows = []
    for what, count in ((f"Fréchet step, n = {d // 2} < {d}", d // 2), (f"Fréchet step, n = {2 * d} > {d}", 2 * d)):
        a, b = (rng.standard_normal((count, d)) * spectrum + shift for shift in (0.0, 0.02))
        given = [(features.mean(0), np.cov(features, rowvar=False)) for features in (a, b)]
        times: dict[str, list[float]] = {"cold": [], "kept": [], "theirs": []}
        for _ in range(repeat):
            fakes, again, reals = Moments.of(a), Moments.of(a), Moments.of(b)
            ours = clock(times["cold"], lambda fakes=fakes, reals=reals: frechet_distance(fakes, reals))
            clock(times["kept"], lambda again=again, reals=reals: frechet_distance(again, reals))
            theirs = clock(times["theirs"], lambda given=given: calculate_frechet_distance(*given[0], *given[1]))
        note = f"{abs(ours / theirs - 1):.1e} apart"
        rows += [
            row(f"{what}, {state}", "scipy.linalg.sqrtm", times[state], times["theirs"], note)
            for state in ("cold", "kept")
        ]
    return rows


def prdc_rows(count: int) -> list[dict[str, Any]]:
    """Peak memory of precision, recall, density and coverage, with the features themselves."""
    what = f"PRDC, {count:,} x {count:,} features of 2048"
    try:
        module = importlib.import_module("ganealogy.evaluation.prdc")
        importlib.import_module("ganealogy.evaluation.neighbours")
    except ImportError:
        return [{"what": what, "note": "skipped: evaluation/prdc.py is not there"}]
    call = (
        "prdc.prdc(a, b, *(__import__('ganealogy.evaluation.neighbours', fromlist=['x']).squared_radii(x, prdc.K)"
        " for x in (a, b)))"
    )
    began = time.perf_counter()
    output = subprocess.run(
        [sys.executable, "-c", PEAK.format(module=module.__name__.rsplit(".", 1)[1], call=call), str(count)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    peak, before = map(float, output.rsplit("VALUE", 1)[1].split())
    seconds = time.perf_counter() - began
    note = f"peak {peak / 2**30:.2f} GiB of the process, {before / 2**30:.2f} GiB of them before it began"
    return [{"what": what, "ours_s": seconds, "peak_bytes": peak, "note": note}]


def run(command: list[str]) -> float:
    """The value that a command prints last after VALUE or FID:, if it does."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ... ended with {done.returncode}:\n{done.stderr}")
    words = done.stdout.split()
    return float(words[-1]) if {"VALUE", "FID:"} & set(words) else float("nan")


def clock(times: list[float], work: Callable[[], float]) -> float:
    began = time.perf_counter()
    value = work()
    times.append(time.perf_counter() - began)
    return value


def row(what: str, peer: str, ours: list[float], theirs: list[float], note: str) -> dict[str, Any]:
    mine, other = statistics.median(ours), statistics.median(theirs)
    return {"what": what, "peer": peer, "ours_s": mine, "peer_s": other, "ratio": other / mine, "note": note}


def show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "peer", "ours", "peer's", "times as fast", "note")
    for one in rows:
        cells = [f"{one[key]:.3g} s" if key in one else "" for key in ("ours_s", "peer_s")]
        ratio = f"{one['ratio']:.1f}" if "ratio" in one else ""
        table.add_row(one["what"], one.get("peer", ""), *cells, ratio, one["note"])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def write_pictures(folder: Path, count: int, coarse: int) -> Path:
    """Random colours on a coarse grid, enlarged smoothly to 64 x 64."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    grids = np.random.default_rng(coarse).integers(0, 256, (count, coarse, coarse, 3), np.uint8)
    for index, grid in enumerate(grids):
        Image.fromarray(grid).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{index:05}.png")
    return folder


def write_weights(folder: Path) -> Path:
    """Kaiming-normal weights under the official file's name and keys, where torch's hub finds them."""
    import torch
    from pytorch_fid import inception as pytorch_fid
    from torch import nn

    from ganealogy.evaluation.extractors.inception import FILE

    networks: list[nn.Module] = []
    network_class = pytorch_fid.torchvision.models.inception.Inception3
    with (
        patch.object(pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        patch.object(network_class, "load_state_dict", lambda self, state: networks.append(self)),
    ):
        pytorch_fid.fid_inception_v3()
    rng = torch.Generator().manual_seed(0)
    for module in networks[0].modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=rng)
    path = folder / "torch" / "hub" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    torch.save(networks[0].state_dict(), path)
    return path


if __name__ == "__main__":
    main()
