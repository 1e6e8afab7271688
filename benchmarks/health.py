"""Validate the signs of trouble in a training on runs whose end is known: what is caught, how early, false alarms.

    python benchmarks/health.py FOLDER [--seeds 0 1 2] [--only v1 clip] [--processes 2]

It draws the demo's pictures (pixel-art avatars, 16 px), trains every case of CASES with every seed where FOLDER lacks
it, and judges each run by its end, without the signs: by the distance of 500 samples of the last generator to 2,000
pictures, against that of 25 pictures repeated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

DATASET = {"name": "avatars", "style": "pixel-art", "image_size": 16, "channels": 3, "count": 6000, "holdout": 0.1}
SETTINGS = {"kimg": 16, "batch_size": 32, "lr": 2e-4, "width": 32, "ticks": 10, "tracker_images": 1000}


@dataclass(frozen=True)
class Case:
    """One kind of training."""

    name: str
    version: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Of params.yaml's train section, where they differ from SETTINGS."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the version's recipe."""
    pictures: int | None = None
    """Train on this many alone; the tracker keeps all."""


def adam(lr: str | float, betas: tuple[float, float] = (0.5, 0.999)) -> dict[str, Any]:
    return {"name": "adam", "lr": lr, "betas": list(betas)}


def optimizer(network: str, lr: str | float) -> dict[str, Any]:
    return {"optimizers": {network: adam(lr)}}


BOTH = ("generator", "discriminator")
CASES = [
    *[
        Case(name, name)
        for name in ("v1", "v2", "v3", "v5", "v7", "v8", "v12", "v17", "v18", "v20", "v21", "v22", "v23", "v24")
    ],
    *[Case(name, name) for name in ("lsgan", "relativistic", "dragan", "softplus-r1", "instance-noise", "diffaugment")],
    *[Case(name, name) for name in ("lecam", "batch-stddev")],
    Case("clipping", "v6"),
    Case("clipping at 1e-3", "v6", changes={"optimizers": {each: {"name": "rmsprop", "lr": 1e-3} for each in BOTH}}),
    Case("lr 5e-3", "v1", {"lr": 5e-3}),
    Case("lr 2e-2", "v1", {"lr": 2e-2}),
    Case("D at 25x", "v1", changes=optimizer("discriminator", "25x")),
    Case("200 pictures, DiffAugment", "diffaugment", {"kimg": 32}, pictures=200),
    Case("v5 at 2e-4", "v5", changes={"optimizers": {"discriminator": {"name": "sgd", "lr": 2e-4}}}),
    Case("v5 at 1e-5", "v5", changes={"optimizers": {"discriminator": {"name": "sgd", "lr": 1e-5}}}),
    Case("epochs in turn", "epochwise"),
    Case("G at 1e-6", "v1", changes=optimizer("generator", 1e-6)),
    Case("batch 2", "v1", {"batch_size": 2, "kimg": 2}),
    Case("lr 0.2", "v1", {"lr": 0.2}),
    Case("v22 at lr 0.1", "v22", {"lr": 0.1}),
    Case("50 G steps", "v1", changes={"adversary": {"game": {"g_steps": 50}}}),
    Case("20 G steps", "v22", changes={"adversary": {"game": {"g_steps": 20}}}),
    Case("D at 0.01x", "v1", changes=optimizer("discriminator", "0.01x")),
    Case(
        "clipping at 1",
        "v6",
        changes={
            "adversary": {"constraint": {"name": "clip", "limit": 1.0}},
            "optimizers": {each: {"name": "rmsprop", "lr": 1e-3} for each in BOTH},
        },
    ),
    Case(
        "no clipping",
        "v6",
        changes={
            "adversary": {"constraint": None},
            "optimizers": {each: {"name": "rmsprop", "lr": 1e-3} for each in BOTH},
        },
    ),
    Case("50 pictures", "v24", {"kimg": 32}, pictures=50),
    Case("100 pictures", "v24", {"kimg": 32}, pictures=100),
    Case("100 pictures, v1", "v1", {"kimg": 32}, pictures=100),
    Case("100 pictures, v22", "v22", {"kimg": 32}, pictures=100),
]
BY_NAME = {case.name: case for case in CASES}


class Quiet:
    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...
    def on_warning(self, text: str) -> None: ...
    def should_stop(self) -> bool:
        return False


def run(job: tuple[str, int, Path]) -> str:
    """Train a case with a seed, and measure its end."""
    import torch

    from ganealogy import one_training
    from ganealogy.data import packed
    from ganealogy.lineage import recipe as recipes
    from ganealogy.lineage.versions import read_family
    from ganealogy.params import schema
    from ganealogy.sampling import latents
    from ganealogy.sampling.generate import generate
    from ganealogy.networks import _build
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles
    from safetensors.torch import load_file

    name, seed, folder = job
    case = BY_NAME[name]
    torch.set_num_threads(1)
    where = folder / "runs" / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    if (where / "end.json").exists():
        return f"{name} {seed}: there"
    images = packed.open_split(folder / "avatars/packed", "train")
    held_out = packed.open_split(folder / "avatars/packed", "holdout")
    settings = {**SETTINGS, **case.settings}
    plan = one_training.make_plan(case.version, 16, 3, settings)
    recipe = recipes.merge(read_family([case.version])[case.version].recipe, case.changes)
    recipe = recipes.resolve_latent(recipes.complete(recipes.check(recipe, name), name), 3, 16)
    plan = {**plan, "recipe": recipes.resolve_rates(recipe, settings["lr"])}
    pictures = np.ascontiguousarray(images[: case.pictures])
    files = RunFiles(where, where / "checkpoints", {"version": case.version, "seed": seed})
    outcome = loop.train(plan, seed, loop.TrainingData(pictures, held_out=held_out), files, "cpu", Quiet())
    generator = _build.generator(plan["recipe"], plan["protocol"])
    generator.load_state_dict(load_file(where / "weights/generator-last.safetensors"))
    samples = generate(generator, latents.sample_latents(plan["recipe"]["latent"], 500, 12345))
    np.save(where / "samples.npy", samples)
    end = {"name": name, "seed": seed, "status": outcome.status, "seconds": outcome.seconds}
    (where / "end.json").write_text(json.dumps(end))
    return f"{name} {seed}: {outcome.status}, {outcome.seconds:.1f} s"


def main() -> None:
    from ganealogy import one_training

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), default=list(BY_NAME), metavar="CASE")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if not (given.folder / "avatars/packed").exists():
        one_training.prepare(given.folder / "avatars", DATASET)
    jobs = [(name, seed, given.folder) for seed in given.seeds for name in given.only]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for line in pool.imap_unordered(run, jobs, chunksize=1):
            print(line, flush=True)


if __name__ == "__main__":
    os.nice(19)
    main()
