"""The training of one version with one seed: from a plan and a packed array to weights, metrics and grids.

Everything that the record receives is a function of (plan, data, seed) on one kind of machine: the same bytes when it
is done again, and the same bytes when it was interrupted on the way. Clocks are returned, not recorded.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ganealogy.adversary.divergence import Diverged, DivergedEarlier
from ganealogy.data.batches import Batches
from ganealogy.files.images import Pictures
from ganealogy.runtime import distributed
from ganealogy.sampling import latents
from ganealogy.sampling.generate import generate
from ganealogy.training import checkpoint
from ganealogy.training.background_writer import BackgroundWriter
from ganealogy.training.best_checkpoint import Best, Tracker
from ganealogy.training.run_files import RunFiles
from ganealogy.training.state import TrainingState


class Callbacks(Protocol):
    """Whoever shows the progress: the command line, a test, nobody."""

    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, images: int, note: str) -> None: ...
    def on_warning(self, text: str) -> None: ...


@dataclass
class Outcome:
    status: str
    """finished, diverged or interrupted."""
    run: dict[str, Any]
    """run.json's content."""
    seconds: float
    """Of training, ticks included, over all sittings."""
    tick_seconds: list[float]
    """The same clock at each tick, when its steps were done: a line of metrics.jsonl each."""
    images: int
    """Images by which G was updated over all sittings."""
    resumed: int
    """How often the training was taken up again."""
    arithmetic: str
    """What the networks ran in on this device: see `ganealogy/runtime/precision.py`."""


def train(
    plan: dict[str, Any],
    seed: int,
    data: str,
    train_images: Pictures,
    record: RunFiles,
    checkpoints: Path,
    device: str,
    watcher: Callbacks,
    interrupted: Callable[[], bool],
    labels: NDArray[np.int64] | None = None,
) -> Outcome:
    """Train, or go on with, one run.

    `plan`: build/plan/versions/<version>.json; `data`: the packed set's digest; `train_images`: uint8 (N, H, W, C);
    `interrupted()` is asked after every step: when true, the training checkpoints and returns; `labels`: (N,), where
    the recipe conditions on them.

    On a GPU the host works ahead, and a divergence is found at the next tick: the training then ends with the weights
    of the tick before it.
    """
    recipe, protocol = plan["recipe"], plan["protocol"]
    batch_size, steps = protocol["batch_size"], step_count(protocol)
    tick_steps = {round(steps * tick / protocol["ticks"]) for tick in range(1, protocol["ticks"] + 1)}

    # Construct: the networks' first weights are the first draws of the seed.
    seed_everything(step_seed(seed, "initialise"))
    learner = TrainingState(recipe, protocol, device, watcher.on_warning)
    game, ema = learner.game, learner.ema
    batches = Batches(train_images, batch_size, seed, device, labels)
    tracker = Tracker(protocol["tracker"], protocol["tracker_images"], train_images, recipe["latent"], device)
    grid_latents = latents.sample_latents(recipe["latent"], 64, latents.GRID_SEED)
    writer, sums, best = BackgroundWriter(), dict[str, torch.Tensor](), Best()
    facts: dict[str, Any] = {"step": 0, "ticks": 0, "summed": 0, "seconds": 0.0, "tick_seconds": [], "resumed": 0}

    def look() -> None:
        """Whether all went well so far, with the last tick's files and on a device that we work ahead of."""
        writer.wait()
        game.gan.look()

    def save(step: int) -> None:
        """Have the checkpoint written, beside the next steps."""
        now = checkpoint.snapshot({**learner.tensors(), **checkpoint.named("sums", distributed.statistics(sums))})
        if distributed.is_first():
            writer.submit(save_with_best, step, now, dict(facts))

    def save_with_best(step: int, now: dict[str, torch.Tensor], position: dict[str, Any]) -> None:
        tensors = {**now, **checkpoint.named("best", best.weights)}
        checkpoint.save(checkpoints, step, tensors, {**position, "best": best.found})

    def restore(loaded: dict[str, torch.Tensor], saved: dict[str, Any]) -> None:
        learner.restore(loaded)
        on_device = {name: tensor.to(device) for name, tensor in loaded.items()}
        best.found, best.weights = saved.pop("best"), checkpoint.below("best", on_device)
        sums.clear()
        sums.update(checkpoint.below("sums", on_device))
        facts.update(saved)

    def tick(step: int) -> None:
        """Record the last steps' means, look at the pictures, reconsider `best`: what needs the host alone is done
        beside the next steps."""
        d_images = step * batch_size * game.d_steps
        epoch = d_images / (batches.steps_per_epoch * batch_size)
        line = {"tick": facts["ticks"], "step": step, "kimg": step * batch_size / 1000, "epoch": epoch}
        line |= {"d_images": d_images, **means(sums, facts["summed"])}
        features, pictures = tracker.features_of(learner.eval_generator), generate(learner.eval_generator, grid_latents)
        writer.submit(judge, line, features, pictures, checkpoint.snapshot(learner.eval_generator.state_dict()))
        seconds = [*facts["tick_seconds"], round(facts["seconds"], 2)]
        facts.update(ticks=facts["ticks"] + 1, summed=0, tick_seconds=seconds)
        sums.clear()

    def judge(
        line: dict[str, Any], features: NDArray[np.float32], pictures: Pictures, weights: dict[str, torch.Tensor]
    ) -> None:
        measured = tracker.scores(features)
        record.tick({**line, **measured}, pictures)
        best.consider({"step": line["step"], "kimg": line["kimg"], "score": measured[tracker.column]}, weights)

    # Resume where a checkpoint stands, else begin with a look at the untrained generator.
    warnings: list[str] = []
    found = checkpoint.newest(checkpoints, warnings)
    for warning in warnings:
        watcher.on_warning(warning)
    if found is not None:
        _, loaded, saved = found
        restore(loaded, saved)
        facts["resumed"] += 1
        record.rewind(facts["ticks"])
    elif warnings:
        watcher.on_warning("no whole checkpoint is left: starting afresh")
    about = {"tracker": tracker.name, "shown": "generator" if ema is None else "running mean of the generator (EMA)"}
    record.status("running", steps=steps, kimg=protocol["kimg"], best=best.found, reason=None, **about)
    began, before = time.monotonic(), facts["seconds"]
    if found is None:
        record.rewind(0)
        tick(0)
        if learner.ahead:
            save(0)  # to go back to
    watcher.on_start(facts["step"], steps)

    # Play: each step's draws come from (seed, step) alone, so that a resumed training needs no generator states.
    status, reason, step = "finished", None, facts["step"]
    try:
        for step in range(facts["step"] + 1, steps + 1):
            seed_everything(step_seed(seed, step))
            reals, classes = batches.window((step - 1) * game.d_steps)
            with distributed.global_batch_rng(batch_size):
                statistics = learner.step(reals, classes, progress=(step - 1) / steps)
            if ema is not None:
                ema.update(step * batch_size / 1000, batch_size / 1000, step / steps)
            for name, value in statistics.items():
                sums[name] = sums[name] + value.double() if name in sums else value.double()
            if step in tick_steps:
                look()
            facts.update(step=step, summed=facts["summed"] + 1, seconds=before + time.monotonic() - began)
            if step in tick_steps:
                tick(step)
                save(step)
            told = step in tick_steps or (step % 25 == 1 and not learner.ahead)
            watcher.on_step(step, batch_size, note(statistics, best) if told else "")
            if distributed.any_across_ranks(interrupted()) and step < steps:
                look()
                save(step)
                status, reason = "interrupted", f"stopped at step {step} of {steps}"
                break
    except Diverged as trouble:
        status, reason = "diverged", f"at step {step}: {trouble}"
    except DivergedEarlier as trouble:
        distributed.barrier()  # the first has waited for its checkpoint to be written
        _, loaded, saved = checkpoint.last(checkpoints)
        restore(loaded, {**saved, "resumed": facts["resumed"]})
        status, reason = "diverged", f"between steps {facts['step']} and {step}: {trouble}"

    # Hand over: the weights that later stages read.
    writer.wait()
    if status != "interrupted":
        record.weights("generator-best", best.weights)
        record.weights("generator-last", learner.eval_generator.state_dict())
        record.weights("discriminator-last", learner.discriminator.state_dict())
    end = {"steps": facts["step"], "kimg": facts["step"] * batch_size / 1000, "best": best.found}
    run = record.status(status, reason=reason, **about, **end)
    seconds, images = before + time.monotonic() - began, facts["step"] * batch_size
    arithmetic = game.gan.describe_precision()
    return Outcome(status, run, seconds, facts["tick_seconds"], images, facts["resumed"], arithmetic)


def means(sums: dict[str, torch.Tensor], count: int) -> dict[str, float]:
    """Return the means of `count` steps' statistics over all ranks, by name; one read for all of them."""
    if not sums:
        return {}
    names = sorted(sums)
    totals: list[float] = distributed.average(torch.stack([sums[name] for name in names])).tolist()
    return {name: total / count for name, total in zip(names, totals, strict=True)}


def step_count(protocol: dict[str, Any]) -> int:
    """G updates in the budget: kimg counts G updates x batch / 1000, as StyleGAN's and R3GAN's code do."""
    updates: float = protocol["kimg"] * 1000 / protocol["batch_size"]
    return max(1, math.ceil(updates))


def step_seed(seed: int, step: int | str) -> int:
    """63 bits that depend on the run's seed and on the step, and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(number: int) -> None:
    """torch.manual_seed for the generators that are in use. Its own notes a stack trace for every kind of device that
    is not, half a millisecond in all."""
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)


def note(statistics: dict[str, torch.Tensor], best: Best) -> str:
    """What stands behind the progress bar."""
    distance = f" · best {best.found['score']:.0f}" if best.found else ""
    return f"D {statistics['d_loss'].item():.2f} · G {statistics['g_loss'].item():.2f}{distance}"
