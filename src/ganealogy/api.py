"""Use Ganealogy from Python: measure pictures, load a trained generator, list the runs of a project.

>>> from ganealogy import api
>>> api.measure("photos", "samples.zip").metrics["fd_effnet_lite0"]
>>> pictures = api.load_generator("v3", seed=1).generate(16, seed=0)
>>> api.runs().groupby("version")["fd_layout_edges_32_64"].mean()

Or without a project, in a notebook:

>>> pictures = api.prepare("data", name="folder", path="photos", image_size=32)
>>> api.train("v24", pictures, "training", kimg=100).load_generator().generate(16)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import Remedy
from ganealogy.files.records import read_record
from ganealogy.record_types import Latent, MetricsJson, RunJson
from ganealogy.tree_types import RunsOfTree
from ganealogy.workspace import TREE, run_dir

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from PIL import Image
    from torch import nn

    from ganealogy.evaluation.standalone import Measurement


def measure(
    real: Path | str, fake: Path | str, extractors: Sequence[str] = (), device: str | None = None
) -> Measurement:
    """Measure `fake` pictures against `real` ones.

    `real`, `fake`: a folder, a zip, an .npy or .npz of uint8 (N, H, W, C), or pytorch-fid's statistics (.npz);
    `extractors`: such as "inception"; by default layout_edges_32_64, effnet_lite0 and pixel8, which need no download;
    `device`: "cpu" or "cuda"; by default cuda where there is one.

    Returns a measurement with `metrics` (name → value), `protocol` (name → how it was measured), and `not_measured`
    (name → reason). Raises: GanealogyError when a set or an extractor cannot be used.
    """
    import torch

    from ganealogy.evaluation import standalone

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    result = standalone.run(Path(real), Path(fake), extractors, device=device)
    assert result is not None
    return result


@dataclass(frozen=True)
class Generator:
    """A trained generator with its latent space."""

    network: nn.Module
    """Latents (N, d) → images (N, C, H, W) in [-1, 1]; class-conditional ones also take labels (N,)."""
    latent: Latent
    """{"size": d, "distribution": "normal" | "uniform"}."""

    def latents(self, count: int, seed: int = 0) -> torch.Tensor:
        """Return (count, d) float32 latents drawn from `seed`."""
        from ganealogy.sampling.latents import sample_latents

        return sample_latents(self.latent, count, seed)

    def generate(
        self, count: int = 16, seed: int = 0, temperature: float = 1.0, labels: torch.Tensor | None = None
    ) -> NDArray[np.uint8]:
        """Return uint8 images (count, H, W, C).

        `temperature`: scales the latents; below 1, less variety and fewer failures. `labels`: (count,) int64 classes.
        """
        from ganealogy.sampling.generate import generate

        return generate(self.network, self.latents(count, seed) * temperature, labels)


def load_generator(version: str, seed: int = 0, checkpoint: str = "best", root: Path | str = ".") -> Generator:
    """Load the generator of a run of the project at `root`, in evaluation mode on the CPU.

    `checkpoint`: "best" or "last". It is the EMA where the recipe has one.
    Raises: GanealogyError when the run or its weights are absent or damaged.
    """
    from ganealogy.files.integrity import verify_weights
    from ganealogy.networks._build import load_generator

    directory = run_dir(version, seed, Path(root))
    keys = ("recipe", "protocol")
    record: RunJson = read_record(directory / "train/run.json", Remedy(f"train@{version}"), keys, RunJson)
    name = f"generator-{checkpoint}"
    verify_weights(directory, record, name)
    path = directory / f"train/weights/{name}.safetensors"
    return Generator(load_generator(path, record["recipe"], record["protocol"]), record["recipe"]["latent"])


def prepare(folder: Path | str, **dataset: Any) -> NDArray[np.uint8]:
    """Make training pictures: decoded, cropped, resized, without duplicates. Return uint8 (N, H, W, C).

    `folder`: for the files, below raw/ and packed/; `dataset`: keys of the section `dataset` of params.yaml, such as
    name="avatars", image_size=32, or name="folder", path="photos". A tenth is held out, in packed/holdout.npy.
    It starts processes, so a script calls it below `if __name__ == "__main__":`; a notebook needs no such line.
    Raises: GanealogyError for an illegal key or value, and when pictures cannot be had.
    """
    from ganealogy import one_training
    from ganealogy.data import packed

    return packed.open_split(one_training.prepare(Path(folder), dataset), "train")


def to_tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Return uint8 pictures (N, H, W, C) as float32 (N, C, H, W) in [-1, 1], the range of a generator's tanh."""
    import torch

    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1


def to_pictures(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return images (N, C, H, W) in [-1, 1] as uint8 pictures (N, H, W, C): the inverse of `to_tensor`."""
    from ganealogy.files.images import to_uint8

    return to_uint8(images)


def sheet(pictures: NDArray[np.uint8], columns: int = 8) -> Image.Image:
    """Return uint8 pictures (N, H, W, C) as one image, row by row; a notebook shows it."""
    from ganealogy.files.images import grid

    return grid(pictures, columns)


def networks(
    version: str, image_size: int, channels: int = 3, width: int = 64, seed: int = 0
) -> tuple[Generator, nn.Module]:
    """Return the untrained G and D of a version. D: images (N, C, H, W) in [-1, 1] → logits (N,).

    `width`: channels of D's first layer. Raises: GanealogyError for an unknown version or a size it does not support.
    """
    import torch

    from ganealogy import one_training
    from ganealogy.networks import _build

    unused = {"kimg": 1, "batch_size": 2, "lr": 1e-4}
    plan = one_training.make_plan(version, image_size, channels, {**unused, "width": width})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = _build.generator(plan["recipe"], plan["protocol"])
        discriminator = _build.discriminator(plan["recipe"], plan["protocol"])
    return Generator(generator, plan["recipe"]["latent"]), discriminator


def layers(network: nn.Module, inputs: torch.Tensor) -> pd.DataFrame:
    """Return the layers of a network: name, kind, shape of the output for one image, trained and fixed numbers.

    `inputs`: at least two latents (N, d) for G, images (N, C, H, W) for D. The network is then in evaluation mode.
    """
    import pandas as pd

    from ganealogy.lineage import layers

    return pd.DataFrame(layers.layers(network, inputs))


@dataclass(frozen=True)
class Training:
    """A training of `train`, or one in a project's build/runs/VERSION/train/SEED."""

    folder: Path

    @property
    def status(self) -> str:
        """finished, stopped, diverged, or running: so it stays if it is interrupted, until `train` is called again."""
        return self._record()["status"]

    @property
    def curves(self) -> pd.DataFrame:
        """One row per tick: step, kimg, epoch, d_loss, g_loss, real_score, fake_score, and the tracker's distance."""
        import pandas as pd

        return pd.read_json(self.folder / "metrics.jsonl", lines=True)

    @property
    def grids(self) -> list[Path]:
        """PNGs of the same 64 latents at each tick, the first of the untrained G."""
        return sorted((self.folder / "grids").glob("*.png"))

    def load_generator(self, checkpoint: str = "last") -> Generator:
        """Return G in evaluation mode on the CPU. `checkpoint`: "last" or "best".

        Raises: GanealogyError when a file is absent or damaged.
        """
        from ganealogy.networks._build import load_generator

        record = self._record()
        path = self.folder / f"weights/generator-{checkpoint}.safetensors"
        return Generator(load_generator(path, record["recipe"], record["protocol"]), record["recipe"]["latent"])

    def _record(self) -> RunJson:
        keys = ("status", "recipe", "protocol")
        record: RunJson = read_record(self.folder / "run.json", "give the folder of a training", keys, RunJson)
        return record


def train(
    version: str,
    pictures: NDArray[np.uint8],
    folder: Path | str,
    *,
    seed: int = 0,
    device: str | None = None,
    **settings: Any,
) -> Training:
    """Train one version on pictures, without a project; called again, it goes on where it was interrupted.

    `pictures`: uint8 (N, H, H, 1 or 3); `folder`: for curves, grids, checkpoints and weights;
    `device`: "cpu" or "cuda", by default cuda where there is one;
    `settings`: keys of the section `train` of params.yaml; by default kimg 16, batch_size 32, lr 0.0002, width 32.
    Raises: GanealogyError for illegal settings or pictures, a version with classes, and a folder with another training.
    """
    import torch

    from ganealogy import one_training

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    settings = {"kimg": 16, "batch_size": 32, "lr": 2e-4, "width": 32, **settings}
    one_training.train(version, pictures, Path(folder), seed, device, settings)
    return Training(Path(folder))


def runs(root: Path | str = ".") -> pd.DataFrame:
    """Return the runs of a project: one row per version and seed of the plan, sorted as in params.yaml.

    Columns: version, seed, status (finished, stopped, diverged, interrupted, running, missing), kimg, and one per
    metric; NaN where a run has not been measured.
    Raises: GanealogyError when there is no plan, or a record is damaged.
    """
    import pandas as pd

    base = Path(root)
    tree: RunsOfTree = read_record(base / TREE, Remedy("plan"), kind=RunsOfTree)
    rows = []
    for entry in tree["versions"]:
        version = entry["name"]
        for seed in entry["seeds"]:
            directory = run_dir(version, seed, base)
            row: dict[str, object] = {"version": version, "seed": seed, "status": "missing", "kimg": None}
            if (path := directory / "train/run.json").exists():
                record: RunJson = read_record(path, Remedy(f"train@{version}"), ("status", "kimg"), RunJson)
                row |= {"status": record["status"], "kimg": record["kimg"]}
            if (path := directory / "evaluate/metrics.json").exists():
                metrics: MetricsJson = read_record(path, Remedy(f"evaluate@{version}"), ("metrics",), MetricsJson)
                row |= metrics["metrics"]
            rows.append(row)
    return pd.DataFrame(rows)
