"""Use Ganealogy from Python: measure pictures, load a trained generator, list the runs of a project.

>>> from ganealogy import api
>>> api.measure("photos", "samples.zip").metrics["fd_effnet_lite0"]
>>> pictures = api.load_generator("v3", seed=1).generate(16, seed=0)
>>> api.runs().groupby("version")["fd_layout_edges_32_64"].mean()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import Remedy
from ganealogy.files.records import read_record
from ganealogy.record_types import Latent, MetricsJson, RunJson, RunsOfTree
from ganealogy.workspace import TREE, run_dir

if TYPE_CHECKING:
    import pandas as pd
    import torch
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


def runs(root: Path | str = ".") -> pd.DataFrame:
    """Return the runs of a project: one row per version and seed of the plan, sorted as in params.yaml.

    Columns: version, seed, status (finished, diverged, interrupted, running, missing), kimg, and one per metric; NaN
    where a run has not been measured.
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
