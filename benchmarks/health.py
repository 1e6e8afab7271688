"""Validate the signs of trouble in a training on runs whose end is known: what is caught, how early, false alarms.

    python benchmarks/health.py FOLDER [--seeds 0 1] [--only v1 clipping] [--processes 2]

It draws the demo's pictures (pixel-art avatars, 16 px), and trains every case of CASES with every seed that FOLDER
lacks: half a minute each. It judges a run by its end, without the signs, by the leading distance of 500 samples of the
last generator to 2,000 pictures:

- bad: above the mean picture's distance; or the samples are nearer to training pictures than to held-out ones, with
  p < 0.001 by evaluation/metrics/memorisation.py;
- good: else, and below the distance of 25 pictures, repeated, which is the report's gate;
- unclear: between the two. These are in neither figure.

The thresholds of training/health.py were calibrated on seed 100.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE, SAMPLES, REALS, EARLY, ALPHA = 16, 500, 2000, 0.6, 0.001
DATASET = {"name": "avatars", "style": "pixel-art", "image_size": SIZE, "channels": 3, "count": 6000, "holdout": 0.1}
SETTINGS: dict[str, Any] = {"kimg": 16, "batch_size": 32, "lr": 2e-4, "width": 32, "ticks": 10, "tracker_images": 1000}


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
    """Train on this many alone."""


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
    Case("200 pictures, DiffAugment", "diffaugment", {"kimg": 20}, pictures=200),
    Case("100 pictures, DiffAugment", "diffaugment", {"kimg": 20}, pictures=100),
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
    Case("50 pictures", "v24", {"kimg": 20}, pictures=50),
    Case("100 pictures", "v24", {"kimg": 20}, pictures=100),
    Case("100 pictures, v1", "v1", {"kimg": 20}, pictures=100),
    Case("100 pictures, v22", "v22", {"kimg": 20}, pictures=100),
]
BY_NAME = {case.name: case for case in CASES}


class Quiet:
    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...
    def on_warning(self, text: str) -> None: ...
    def should_stop(self) -> bool:
        return False


def folder_of(folder: Path, name: str, seed: int) -> Path:
    return folder / "runs" / f"{name.replace(' ', '_').replace(',', '')}-{seed}"


def run(job: tuple[str, int, Path]) -> str:
    """Train a case with a seed, and measure its end, unless that was done before."""
    import torch
    from safetensors.torch import load_file

    from ganealogy import one_training
    from ganealogy.data import packed
    from ganealogy.lineage import recipe as recipes
    from ganealogy.lineage.versions import read_family
    from ganealogy.networks import _build
    from ganealogy.sampling import latents
    from ganealogy.sampling.generate import generate
    from ganealogy.training import loop
    from ganealogy.training.best_checkpoint import Tracker
    from ganealogy.training.run_files import RunFiles

    name, seed, folder = job
    case, where = BY_NAME[name], folder_of(folder, name, seed)
    if (where / "end.json").exists():
        return f"{name} {seed}: there"
    torch.set_num_threads(1)
    images, held_out = (packed.open_split(folder / "avatars/packed", split) for split in ("train", "holdout"))
    settings = {**SETTINGS, **case.settings}
    plan = one_training.make_plan(case.version, SIZE, 3, settings)
    merged = recipes.check(recipes.merge(read_family([case.version])[case.version].recipe, case.changes), name)
    recipe = recipes.resolve_latent(recipes.complete(merged, name), 3, SIZE)
    plan["recipe"] = recipes.resolve_rates(recipe, settings["lr"])
    pictures = np.ascontiguousarray(images[: case.pictures])
    files = RunFiles(where, where / "checkpoints", {"version": case.version, "seed": seed})
    data = loop.TrainingData(pictures, held_out=held_out)
    outcome = loop.train(plan, seed, data, files, "cpu", Quiet())

    generator = _build.generator(plan["recipe"], plan["protocol"])
    generator.load_state_dict(load_file(where / "weights/generator-last.safetensors"))
    samples = generate(generator, latents.sample_latents(plan["recipe"]["latent"], SAMPLES, latents.sample_seed(0)))
    tracker = Tracker(plan["protocol"]["tracker"], 1000, pictures, plan["recipe"]["latent"], "cpu")
    end = {
        "status": outcome.status,
        "of_mean": tracker.of_mean,
        "distance": judge(images)(samples),
        "copying": copying(samples, pictures, held_out),
    }
    (where / "end.json").write_text(json.dumps(end))
    return f"{name} {seed}: {outcome.status}, {outcome.seconds:.0f} s, distance {end['distance']:.2f}"


def judge(images: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], float]:
    """Return the leading distance of pictures to the first 2,000."""
    from ganealogy.evaluation.features import load_extractor
    from ganealogy.training.best_checkpoint import distance_to

    extractor = load_extractor("layout_edges_32_64", "cpu")
    distance = distance_to(extractor, extractor.features(np.ascontiguousarray(images[:REALS])))
    return lambda pictures: distance(extractor.features(pictures))


def copying(samples: NDArray[np.uint8], pictures: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> float:
    """Return the p-value of the samples being no nearer to the training pictures than to held-out ones."""
    from ganealogy.evaluation.features import FeatureSet, load_extractor
    from ganealogy.evaluation.measure import Comparison, copy_ratios
    from ganealogy.evaluation.metrics.memorisation import memorisation

    extractor = load_extractor("pixel8", "cpu")
    fakes, train, others = (
        FeatureSet(extractor.features(np.ascontiguousarray(each))) for each in (samples, pictures, held_out)
    )
    found = Comparison(extractor, fakes, train, train=train, holdout=others)
    indices, distances = found.nearest(others, 1)
    of_others = copy_ratios(Comparison(extractor, others, train))
    nearest = indices[:, 0], distances[:, 0]
    return float(memorisation(found.neighbours, nearest, of_others, len(train), len(others)).p)


@dataclass(frozen=True)
class Ended:
    """A training with its end, and the signs that it had."""

    case: Case
    seed: int
    distance: float
    how: str
    """good, bad or unclear."""
    signs: list[tuple[str, float]]
    """Each with the fraction of the budget at which it was seen."""


def ended(folder: Path, names: list[str], seeds: list[int], every: int = 1) -> Iterator[Ended]:
    """Yield the runs. `every`: take each second tick alone, say, as if the training had had no others."""
    from ganealogy.budget import step_count
    from ganealogy.data import packed
    from ganealogy.training.health import signs

    images = packed.open_split(folder / "avatars/packed", "train")
    distance = judge(images)
    mean = np.rint(images[:REALS].mean(0)).astype(np.uint8)
    fails, gate = (
        distance(np.repeat(mean[None], SAMPLES, 0)),
        distance(np.resize(images[REALS : REALS + 25], (SAMPLES, *mean.shape))),
    )
    found = [(name, seed, folder_of(folder, name, seed)) for name in names for seed in seeds]
    ends = {
        (name, seed): json.loads((where / "end.json").read_text())
        for name, seed, where in found
        if (where / "end.json").exists()
    }
    for name, seed, where in found:
        if (name, seed) not in ends:
            continue
        case, end = BY_NAME[name], ends[name, seed]
        how = "good" if end["distance"] < gate else "unclear"
        if not end["distance"] < fails or end["copying"] < ALPHA:
            how = "bad"
        settings: Any = {**SETTINGS, **case.settings}
        rows = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()][::every]
        steps = step_count(settings)
        shown = signs(rows, steps, "fd_layout_edges_32_64", end["of_mean"])
        yield Ended(
            case, seed, end["distance"], how, [(each["sign"], each["kimg"] / settings["kimg"]) for each in shown]
        )


def report(folder: Path, names: list[str], seeds: list[int]) -> None:
    """Print each kind of training, then what was caught and the false alarms."""
    for every, ticks in ((1, 10), (2, 5)):
        runs = list(ended(folder, names, seeds, every))
        print(f"\n{ticks} ticks a training\n")
        print("| training | end | distance | signs, with the part of the budget |\n|---|---|---|---|")
        for name in names:
            mine = [each for each in runs if each.case.name == name]
            shown = "; ".join(", ".join(f"{sign} {at:.0%}" for sign, at in each.signs) or "–" for each in mine)
            ends = ", ".join(dict.fromkeys(each.how for each in mine))
            if mine:
                print(f"| {name} | {ends} | {', '.join(f'{each.distance:.2f}' for each in mine)} | {shown} |")
        bad, good, unclear = ([each for each in runs if each.how == how] for how in ("bad", "good", "unclear"))
        caught = [each for each in bad if any(at < EARLY for _, at in each.signs)]
        late = [each for each in bad if each.signs and each not in caught]
        alarms = [each for each in good if each.signs]
        print(f"\ncaught before {EARLY:.0%} of the budget: {len(caught)} of {len(bad)}; later: {len(late)}")
        print(f"false alarms: {len(alarms)} of {len(good)} that ended well")
        print(f"with a sign: {sum(bool(each.signs) for each in unclear)} of {len(unclear)} that are neither")


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
    report(given.folder, given.only, given.seeds)


if __name__ == "__main__":
    os.nice(19)
    main()
