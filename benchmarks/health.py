"""Validate the signs of trouble in a training on runs whose end is known: what is caught, how early, false alarms.

    python benchmarks/health.py FOLDER [--seeds 0 1] [--only v1 clipping] [--processes 2] [--cost]

It draws the demo's pictures (pixel-art avatars, 16 px), and trains every case of CASES with every seed that FOLDER
lacks: half a minute each. It judges a run by its end, without the signs, by the leading distance of 500 samples of the
last generator to 2,000 pictures:

- bad: above the mean picture's distance; or, by the second opinion of a network (fd_w64_effnet_lite0_64), above 70 % of
  the mean picture's; or the samples are nearer to training pictures than to held-out ones, with p < 0.001 by
  evaluation/metrics/memorisation.py;
- good: else, and below the distance of 25 pictures, repeated, which is the report's gate;
- unclear: between the two. These are in neither figure.

The thresholds of training/health.py were calibrated on seeds 100, 0 and 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE, SAMPLES, REALS, EARLY, ALPHA, SHARE = 16, 500, 2000, 0.6, 0.001, 0.7
DATASET = {"name": "avatars", "style": "pixel-art", "image_size": SIZE, "channels": 3, "count": 6000, "holdout": 0.1}
TRACKER = "layout_edges_32_64"
LATENT: Any = {"size": 8, "distribution": "normal"}
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

    @property
    def memorises(self) -> bool:
        """Whether D sees few pictures without augmentation: it overfits (arXiv 2006.06676), whatever the samples do."""
        return self.pictures is not None and self.version != "diffaugment"


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
    """Train a case with a seed, and write samples of its end, unless that was done before."""
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
    from ganealogy.training.run_files import RunFiles

    name, seed, folder = job
    case, where = BY_NAME[name], folder_of(folder, name, seed)
    if (where / "samples.npy").exists():
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
    np.save(where / "samples.npy", samples)
    return f"{name} {seed}: {outcome.status}, {outcome.seconds:.0f} s"


def measure_ends(folder: Path, names: list[str], seeds: list[int]) -> dict[str, float]:
    """Write end.json beside the samples of each run that lacks it; return the distances that divide bad from good."""
    from ganealogy.data import packed
    from ganealogy.training.best_checkpoint import Tracker

    images, held_out = (packed.open_split(folder / "avatars/packed", split) for split in ("train", "holdout"))
    distance, seems = judge(images), second_opinion(images)
    for name in names:
        pictures = np.ascontiguousarray(images[: BY_NAME[name].pictures])
        for samples in (folder_of(folder, name, seed) / "samples.npy" for seed in seeds):
            if not samples.exists() or (samples.parent / "end.json").exists():
                continue
            fakes = np.load(samples)
            tracker = Tracker(TRACKER, SETTINGS["tracker_images"], pictures, LATENT, "cpu")
            end = {"of_mean": tracker.of_mean, "distance": distance(fakes), "seems": seems(fakes)}
            end["copying"] = copying(fakes, pictures, held_out)
            (samples.parent / "end.json").write_text(json.dumps(end))
    mean = np.repeat(np.rint(images[:REALS].mean(0)).astype(np.uint8)[None], SAMPLES, axis=0)
    few = np.resize(images[REALS : REALS + 25], mean.shape)
    return {"fails": distance(mean), "seems_to_fail": SHARE * seems(mean), "gate": distance(few)}


def judge(images: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], float]:
    """Return the leading distance of pictures to the first 2,000."""
    from ganealogy.evaluation.features import load_extractor
    from ganealogy.training.best_checkpoint import distance_to

    extractor = load_extractor(TRACKER, "cpu")
    distance = distance_to(extractor, extractor.features(np.ascontiguousarray(images[:REALS])))
    return lambda pictures: distance(extractor.features(pictures))


def second_opinion(images: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], float]:
    """Return fd_w64_effnet_lite0_64 of pictures to the first 2,000."""
    from ganealogy.evaluation.features import load_extractor
    from ganealogy.evaluation.measure import HEAD
    from ganealogy.evaluation.metrics.whitened import Whitening

    extractor = load_extractor("effnet_lite0_64", "cpu")
    reals = extractor.features(np.ascontiguousarray(images[:REALS]))
    whitening = Whitening.of(reals, HEAD.components, HEAD.unseen)
    return lambda pictures: float(whitening.distance(extractor.features(pictures)))


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


def ended(
    folder: Path, names: list[str], seeds: list[int], limits: dict[str, float], every: int = 1
) -> Iterator[Ended]:
    """Yield the runs. `every`: take each second tick alone, say, as if the training had had no others."""
    from ganealogy.budget import step_count
    from ganealogy.training.health import signs

    for name in names:
        case = BY_NAME[name]
        settings: Any = {**SETTINGS, **case.settings}
        for seed in seeds:
            where = folder_of(folder, name, seed)
            if not (where / "end.json").exists():
                continue
            end = json.loads((where / "end.json").read_text())
            how = "good" if end["distance"] < limits["gate"] else "unclear"
            passes = end["distance"] < limits["fails"] and end["seems"] < limits["seems_to_fail"]
            if not passes or end["copying"] < ALPHA:
                how = "bad"
            rows = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()][::every]
            shown = signs(rows, step_count(settings), f"fd_{TRACKER}", end["of_mean"])
            parts = [(each["sign"], each["kimg"] / settings["kimg"]) for each in shown]
            yield Ended(case, seed, end["distance"], how, parts)


def report(folder: Path, names: list[str], seeds: list[int]) -> None:
    """Print each kind of training, then what was caught and the false alarms."""
    limits = measure_ends(folder, names, seeds)
    for every, ticks in ((1, 10), (2, 5)):
        runs = list(ended(folder, names, seeds, limits, every))
        print(f"\n{ticks} ticks a training\n")
        print("| training | end | distance | signs, with the part of the budget |\n|---|---|---|---|")
        for name in names:
            mine = [each for each in runs if each.case.name == name]
            shown = "; ".join(", ".join(f"{sign} {at:.0%}" for sign, at in each.signs) or "–" for each in mine)
            ends = ", ".join(dict.fromkeys(each.how for each in mine))
            if mine:
                print(f"| {name} | {ends} | {', '.join(f'{each.distance:.2f}' for each in mine)} | {shown} |")
        print("\nby the end alone")
        count(runs)
        print("\nwith few pictures without augmentation among those that end badly")
        count([replace(each, how="bad") if each.case.memorises else each for each in runs])


def count(runs: list[Ended]) -> None:
    """Print what was caught, and the false alarms."""
    bad, good, unclear = ([each for each in runs if each.how == how] for how in ("bad", "good", "unclear"))
    caught = [each for each in bad if any(at < EARLY for _, at in each.signs)]
    late = [each for each in bad if each.signs and each not in caught]
    alarms = [each for each in good if each.signs]
    print(f"caught before {EARLY:.0%} of the budget: {len(caught)} of {len(bad)}; later: {len(late)}")
    print(f"false alarms: {len(alarms)} of {len(good)} that ended well")
    print(f"with a sign: {sum(bool(each.signs) for each in unclear)} of {len(unclear)} that are neither")


def cost(folder: Path) -> None:
    """Print the share of a training of v1, with the demo's five ticks, that the measures take: processor time."""
    import tempfile

    import torch

    from ganealogy import one_training
    from ganealogy.data import packed
    from ganealogy.training import health, loop
    from ganealogy.training.run_files import RunFiles

    torch.set_num_threads(1)
    seconds: list[float] = []

    def timed(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            began = time.thread_time()
            result = function(*arguments)
            seconds.append(time.thread_time() - began)
            return result

        setattr(owner, name, call)

    for owner, name in ((health.HealthCheck, "score"), (health.HealthCheck, "columns"), (loop, "signs")):
        timed(owner, name)
    images, held_out = (packed.open_split(folder / "avatars/packed", split) for split in ("train", "holdout"))
    plan = one_training.make_plan("v1", SIZE, 3, {**SETTINGS, "ticks": 5})
    with tempfile.TemporaryDirectory() as place:
        files = RunFiles(Path(place) / "train", Path(place) / "checkpoints", {})
        data = loop.TrainingData(images, held_out=held_out)
        outcome = loop.train(plan, 0, data, files, "cpu", Quiet())
    print(f"\nmeasures and signs: {sum(seconds) / outcome.cpu_seconds:.1%} of a training of v1 with five ticks")


def main() -> None:
    from ganealogy import one_training

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), default=list(BY_NAME), metavar="CASE")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cost", action="store_true", help="measure the share of a training, too")
    given = parser.parse_args()
    if not (given.folder / "avatars/packed").exists():
        one_training.prepare(given.folder / "avatars", DATASET)
    jobs = [(name, seed, given.folder) for seed in given.seeds for name in given.only]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for line in pool.imap_unordered(run, jobs, chunksize=1):
            print(line, flush=True)
    report(given.folder, given.only, given.seeds)
    if given.cost:
        cost(given.folder)


if __name__ == "__main__":
    os.nice(19)
    main()
