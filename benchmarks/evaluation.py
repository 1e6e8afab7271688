"""Compare the evaluation with its peers: FID, the Fréchet distance, and the memory of PRDC.

FID against `python -m pytorch_fid` on the same folders of PNGs, whole processes on both sides: with nothing cached, and
with the statistics of the reals in a file, ours in fp32 and bf16. The weights are random in the official file's format;
speed does not depend on them. The Fréchet distance against scipy's matrix root, as pytorch-fid calls it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from measuring import claims

OURS = """
import sys
from pathlib import Path
import torch
from ganealogy.files import atomic
from ganealogy.evaluation import measure, standalone
from ganealogy.evaluation.extractors import inception
inception.SHA256 = atomic.sha256(inception.weights_path())  # accept the random weights
measure._check_count = lambda *arguments: None  # with --quick there are few pictures
torch.set_num_threads(int(sys.argv[1]))
result = standalone.run(Path(sys.argv[2]), Path(sys.argv[3]), [sys.argv[4]])
print("VALUE", next(value for name, value in result.metrics.items() if name in ("fid", "fd_inception_bf16")))
"""
SAVE = """
import sys
from pathlib import Path
from ganealogy.files import atomic
from ganealogy.evaluation import standalone
from ganealogy.evaluation.extractors import inception
inception.SHA256 = atomic.sha256(inception.weights_path())
standalone.run(Path(sys.argv[1]), None, [sys.argv[2]], save_statistics=Path(sys.argv[3]))
"""
PEAK = """
import resource, sys
import numpy as np
from ganealogy.evaluation.metrics import neighbours, prdc
count, dimension = int(sys.argv[1]), 2048
rng = np.random.default_rng(0)
a, b = (rng.standard_normal((count, dimension), np.float32) for _ in range(2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prdc.prdc(a, b, *(neighbours.squared_radii(x, prdc.K) for x in (a, b)))
print(before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=192, help="PNGs per side, 64x64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="only FID of both folders, for thousands of images")


def main() -> None:
    bench, given = claims.begin("The evaluation", __doc__, options)
    if bench.quick:
        given.images, given.repeat = 4, 1
    # Before numpy and torch are imported, here and in the child processes.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GANEALOGY_THREADS"):
        os.environ[name] = str(given.threads)
    os.environ["PYTHONPATH"] = str(claims.ROOT / "src")
    with tempfile.TemporaryDirectory(prefix="ganealogy-bench-") as folder:
        fid(bench, Path(folder), given.images, given.threads, given.repeat, given.plain)
    if not given.plain:
        frechet(bench, given.repeat + 5)
        prdc(bench)
    bench.finish()


def fid(bench: claims.Benchmark, folder: Path, count: int, threads: int, rounds: int, plain: bool) -> None:
    weights = write_weights(folder)
    os.environ |= {"TORCH_HOME": str(folder / "torch"), "DVC_ROOT": str(folder)}
    link = folder / "build" / "weights" / weights.name
    link.parent.mkdir(parents=True)
    link.hardlink_to(weights)
    reals, fakes = write_pictures(folder / "reals", count, 4, 256), write_pictures(folder / "fakes", count, 6, 160)
    our_file, our_bf16_file = (folder / f"{name}.npz" for name in ("ours", "ours-bf16"))
    theirs = [sys.executable, "-W", "ignore", "-m", "pytorch_fid", "--device", "cpu"]
    theirs += ["--batch-size", str(min(50, count)), "--num-workers", "0" if threads == 1 else str(threads)]
    ours = [sys.executable, "-W", "ignore", "-c", OURS, str(threads)]
    commands = {"theirs": [*theirs, str(reals), str(fakes)], "fp32": [*ours, str(reals), str(fakes), "inception"]}
    if not plain:
        for extractor, file in (("inception", our_file), ("inception_bf16", our_bf16_file)):
            run([sys.executable, "-c", SAVE, str(reals), extractor, str(file)])
        commands |= {
            "fp32 cached": [*ours, str(our_file), str(fakes), "inception"],
            "bf16 cached": [*ours, str(our_bf16_file), str(fakes), "inception_bf16"],
        }
    values: dict[str, float] = {}

    def contender(name: str) -> Callable[[], float]:
        return lambda: claims.timed(lambda: values.update({name: run(commands[name])}))

    seconds = claims.in_turns({name: contender(name) for name in commands}, rounds, warm_up=0)
    if not plain and not bench.quick:  # once, for comparison; no claim depends on it
        run([*theirs, "--save-stats", str(reals), str(folder / "theirs.npz")])
        commands["theirs cached"] = [*theirs, str(folder / "theirs.npz"), str(fakes)]
        seconds["theirs cached"] = [contender("theirs cached")()]
    for name, taken in seconds.items():
        what = name.replace("theirs", "python -m pytorch_fid") if "theirs" in name else f"ours, {name}"
        bench.measured(f"FID of {count} images per side, {what}", statistics.median(taken), "s", f"{values[name]:.7g}")
    apart = abs(values["fp32"] / values["theirs"] - 1)
    bench.claim(f"FID of {count:,} images per side, apart from pytorch-fid's", apart, 1e-4, "of it", at_least=False)
    if plain:
        return
    bench.measured("fp32 against pytorch_fid, both folders", claims.ratio(seconds["theirs"], seconds["fp32"]), "x")
    for name, target in (("fp32", 3), ("bf16", 5)):
        if "theirs cached" in seconds:
            both_ratio = seconds["theirs cached"][0] / statistics.median(seconds[f"{name} cached"])
            bench.measured(f"{name} against pytorch_fid, the reals' statistics cached on both sides", both_ratio, "x")
        kept_ratio = claims.ratio(seconds["theirs"], seconds[f"{name} cached"])
        bench.claim(f"{name} against pytorch_fid, the reals' statistics cached on ours", kept_ratio, target)


def frechet(bench: claims.Benchmark, rounds: int) -> None:
    """Time the distance with and without the cached matrix root of the reals.

    Below d images ours uses no covariance and starts from the features.
    """
    d = 128 if bench.quick else 2048
    step(bench, rounds, d // 2, d, {"nothing cached": 0.3})
    step(bench, rounds, d - 1, d, {"nothing cached": 0.3})
    step(bench, rounds, 2 * d, d, {"reals' root cached": 1, "nothing cached": 2})


def step(bench: claims.Benchmark, rounds: int, count: int, d: int, bounds: dict[str, float]) -> None:
    """Time the distance from both sides' means and covariances, against scipy's."""
    import numpy as np
    from pytorch_fid.fid_score import calculate_frechet_distance

    from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
    from ganealogy.runtime import memory

    memory.keep_freed()  # as every stage does
    rng = np.random.default_rng(0)
    spectrum = np.exp(-np.arange(d) / 200)
    a, b = (rng.standard_normal((count, d)) * spectrum + shift for shift in (0.0, 0.02))
    given = [part for side in (a, b) for part in (side.mean(0), np.cov(side, rowvar=False))]
    cached = Moments.of(b)
    found: dict[str, float] = {}

    def ours(reals: Moments) -> float:
        fakes = Moments.of(a)
        return claims.timed(lambda: found.update(ours=frechet_distance(fakes, reals)))

    contenders = {"nothing cached": lambda: ours(Moments.of(b)), "reals' root cached": lambda: ours(cached)}
    seconds = claims.in_turns(contenders, rounds, warm_up=0 if bench.quick else 1)
    # Once: it takes 15 s, about 40 times as long as ours.
    seconds["scipy"] = [claims.timed(lambda: found.update(scipy=calculate_frechet_distance(*given)))]
    apart = abs(found["ours"] / found["scipy"] - 1)
    what = f"Fréchet distance of {count:,} images in {d:,} dimensions"
    for name, taken in seconds.items():
        detail = "its matrix root, as pytorch-fid calls it" if name == "scipy" else f"{apart:.0e} apart from scipy"
        bench.measured(f"{what}, {name}", statistics.median(taken), "s", detail)
    for name, bound in bounds.items():
        bench.claim(f"{what}, {name}", statistics.median(seconds[name]), bound, "s", at_least=False)


def prdc(bench: claims.Benchmark) -> None:
    """Measure the peak memory of precision, recall, density and coverage, including the features."""
    count = 500 if bench.quick else 10_000
    output = subprocess.run(
        [sys.executable, "-c", PEAK, str(count)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    before, peak = map(float, output.split())
    what = f"PRDC of {count:,} x {count:,} features of 2048"
    bench.measured(f"{what}, memory before", before, "MiB", "with the features")
    bench.claim(f"{what}, peak memory", peak, 2048, "MiB", at_least=False)


def run(command: list[str]) -> float:
    """Return the value that a command prints last, after VALUE or FID:; NaN without one."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ... ended with {done.returncode}:\n{done.stderr}")
    words = done.stdout.split()
    return float(words[-1]) if {"VALUE", "FID:"} & set(words) else float("nan")


def write_pictures(folder: Path, count: int, coarse: int, brightness: int) -> Path:
    """Write pictures of random colours below `brightness` on a coarse grid, enlarged to 64x64. Return `folder`."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    grids = np.random.default_rng(coarse).integers(0, brightness, (count, coarse, coarse, 3), np.uint8)
    for index, grid in enumerate(grids):
        Image.fromarray(grid).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{index:05}.png")
    return folder


def write_weights(folder: Path) -> Path:
    """Write Kaiming-normal weights with the official file's name and keys into torch's hub folder. Return the file."""
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
