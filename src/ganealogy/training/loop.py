"""Train one version with one seed: from a plan and a packed array to weights, metrics and image grids.

The run files are a function of (plan, data, seed) on one kind of machine: the same bytes when repeated, and the same
bytes when interrupted and resumed. Clocks are returned in `Outcome`, not written to the run files.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ganealogy import record_types
from ganealogy.adversary.divergence import Diverged, DivergedEarlier
from ganealogy.budget import step_count, tick_steps
from ganealogy.data.batches import Batches
from ganealogy.files.images import Pictures
from ganealogy.runtime import distributed
from ganealogy.runtime.accelerator import synchronize
from ganealogy.sampling import latents
from ganealogy.sampling.generate import generate
from ganealogy.training import checkpoint
from ganealogy.training.best_checkpoint import Tracker
from ganealogy.training.health import FATAL, HealthCheck, signs
from ganealogy.training.run_files import RunFiles
from ganealogy.training.start import Start
from ganealogy.training.state import TrainingState

GRID_IMAGES = 64
REPORT_EVERY = 25
"""Steps between two reports of the losses to the progress bar."""


class Callbacks(Protocol):
    """Progress reports, and the request to stop."""

    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None:
        """`scalars`: d_loss, g_loss, and the tracker's `fd` and `best`, at some steps only: reading them costs time."""

    def on_warning(self, text: str) -> None: ...
    def should_stop(self) -> bool:
        """Called after each step; if true, the training saves a checkpoint and returns."""


@dataclass(frozen=True)
class Draws:
    """Seeds of the three kinds of random numbers of a training. An ordinary training has one seed for all."""

    initialise: int
    """Of the initial weights."""
    order: int
    """Of the order of the batches."""
    steps: int
    """Of each step's draws: latents, augmentation, dropout, and noise of penalties."""

    @classmethod
    def of(cls, seed: int, vary: str = "") -> Draws:
        """Return the seed for all; with `vary`, a field's name, for that one alone, and 0 for the others."""
        return replace(cls(0, 0, 0), **{vary: seed}) if vary else cls(seed, seed, seed)


@dataclass(frozen=True)
class TrainingData:
    images: Pictures
    """uint8 (N, H, W, C)."""
    labels: NDArray[np.int64] | None = None
    """(N,), where the recipe conditions on them."""
    held_out: Pictures | None = None
    """uint8 (M, H, W, C): pictures that no network learns from, for the health columns."""
    held_out_labels: NDArray[np.int64] | None = None
    """(M,)."""

    @property
    def class_counts(self) -> list[int] | None:
        """Pictures of each class, where there are labels."""
        return None if self.labels is None else np.bincount(self.labels).tolist()


@dataclass(frozen=True)
class Outcome:
    status: str
    """finished, stopped, diverged or interrupted."""
    run: record_types.RunJson
    """Content of run.json."""
    seconds: float
    """Training time including ticks, and the time before interruptions."""
    cpu_seconds: float
    """Processor time of this process alone, since it started or resumed the training."""
    tick_seconds: list[float]
    """Training time at each tick, one per line of metrics.jsonl."""
    images: int
    """Images by which G was updated, since the first step."""
    resumed: int
    """Number of resumes."""
    precision: str
    """Arithmetic that the networks ran in on this device: see `runtime/precision.py`."""


def train(
    plan: record_types.VersionPlan,
    seed: int,
    data: TrainingData,
    files: RunFiles,
    device: str,
    callbacks: Callbacks,
    vary: str = "",
    start: Start | None = None,
) -> Outcome:
    """Train one version with one seed, or resume it.

    `vary`: what the seed drives, see `Draws.of`; `start`: in place of random weights.

    On a GPU a divergence is detected at the next tick; the training then ends with the weights of the tick before it.
    """
    # Set up. The initial weights are the first draws of the seed.
    recipe, protocol = plan["recipe"], plan["protocol"]
    batch_size, steps = protocol["batch_size"], step_count(protocol)
    ticks = tick_steps(protocol)
    draws = Draws.of(seed, vary)
    seed_everything(step_seed(draws.initialise, "initialise"))
    state = TrainingState(recipe, protocol, steps, device, callbacks.on_warning)
    if start is not None:
        state.start_from(start)
    batches = Batches(data.images, batch_size, draws.order, device, data.labels, protocol.get("flip", False))
    state.game.batches_per_epoch = batches.steps_per_epoch
    health = HealthCheck(data.images, data.held_out, batch_size, data.labels, data.held_out_labels)
    tracker = Tracker(
        protocol["tracker"],
        protocol["tracker_images"],
        data.images,
        recipe["latent"],
        device,
        data.class_counts,
        shown=health.count,
    )
    description: dict[str, Any] = {"tracker": tracker.name, "shown": state.eval_generator_name}
    if data.class_counts:
        description["class_counts"] = data.class_counts

    # Resume from the newest intact checkpoint, or begin with a tick of the untrained generator.
    resumed = files.restore(state, callbacks.on_warning)
    state.signs = signs(files.ticks(), steps, tracker.column, tracker.of_mean)
    files.write_status(
        "running", steps=steps, kimg=protocol["kimg"], best=state.best.record, reason=None, **description
    )
    began = time.monotonic() - state.progress.seconds  # as if there had been no interruption
    used = time.process_time()
    if not resumed:
        if start is None:
            state.calibrate(data.images)
        tick(state, tracker, health, files, batches)
        if state.checks_are_deferred:
            files.save_checkpoint(state)  # the weights to return to after a divergence before the next tick
    callbacks.on_start(state.progress.step, steps)

    # Train. Each step is seeded by (seed, step), so a checkpoint needs no generator state.
    status, reason, step, announced = "finished", None, state.progress.step, len(state.signs)
    stops = protocol.get("stop") == "unhealthy"
    try:
        for step in range(state.progress.step + 1, steps + 1):
            if stops and step - 1 in ticks and (fatal := fatal_sign(state, files)):
                status, reason = "stopped", f"at step {step - 1} of {steps}: {fatal}"
                break
            seed_everything(step_seed(draws.steps, step, distributed.rank()))
            losses = state.train_step(*batches.window(state.game.batches(step - 1)))
            if step in ticks:
                synchronize(device)  # else a GPU's tick would be timed while its steps still run
            state.progress.seconds = time.monotonic() - began
            if step in ticks:
                tick(state, tracker, health, files, batches)
                files.save_checkpoint(state)
            report = step in ticks or (step % REPORT_EVERY == 1 and not state.checks_are_deferred)
            callbacks.on_step(step, state.scalars(losses) if report else None)
            announced += warn(state.signs[announced:], callbacks)
            if distributed.any_across_ranks(callbacks.should_stop()) and step < steps:
                files.save_checkpoint(state)
                status, reason = "interrupted", f"stopped at step {step} of {steps}"
                break
    except Diverged as error:
        status, reason = "diverged", f"at step {step}: {error}"
    except DivergedEarlier as error:
        files.return_to_last_checkpoint(state)
        status, reason = "diverged", f"between steps {state.progress.step} and {step}: {error}"

    # Finish. Later stages read the weights.
    files.wait()
    warn(state.signs[announced:], callbacks)
    if status != "interrupted":
        if state.best.weights:  # a training that diverges before its first tick has none
            for network in ("generator", "discriminator"):
                files.save_weights(f"{network}-best", checkpoint.below(network, state.best.weights))
        files.save_weights("generator-last", state.eval_generator.state_dict())
        files.save_weights("discriminator-last", state.discriminator.state_dict())
    done, images = state.progress, state.progress.step * batch_size
    end = {"steps": done.step, "kimg": images / 1000, "best": state.best.record, "health": state.signs}
    run = files.write_status(status, reason=reason, **description, **end)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - used
    precision = state.game.gan.describe_precision()
    return Outcome(status, run, seconds, cpu_seconds, done.tick_seconds, images, done.resumed, precision)


def tick(state: TrainingState, tracker: Tracker, health: HealthCheck, files: RunFiles, batches: Batches) -> None:
    """Log the mean losses since the last tick, the tracker's scores and a grid; keep the weights if they are the best.

    The scores are computed and the files written in the background, while the next steps run.
    """
    files.wait()
    state.raise_if_diverged()
    step, batch_size = state.progress.step, batches.batch_size
    line = {
        "tick": state.progress.ticks,
        "step": step,
        "kimg": step * batch_size / 1000,
        "epoch": state.game.batches(step) / batches.steps_per_epoch,
        "d_images": state.game.d_updates(step) * batch_size,
        **state.mean_losses(),
    }
    generator = state.eval_generator
    features, fakes = tracker.pass_of(generator)
    d_scores = health.score(state.game.gan, fakes, tracker.shown_labels, step / state.steps, step_seed(0, "health"))
    grid = generate(generator, latents.sample_latents(tracker.latent, GRID_IMAGES, latents.GRID_SEED))
    weights = checkpoint.snapshot(state.evaluated_tensors())

    def score_and_write() -> None:
        scores = tracker.scores(features)
        files.append_tick({**line, **scores, **health.columns(fakes, d_scores)}, grid)
        state.signs = signs(files.ticks(), state.steps, tracker.column, tracker.of_mean)
        state.best.consider({"step": step, "kimg": line["kimg"], "score": scores[tracker.column]}, weights)

    files.submit(score_and_write)
    state.start_next_tick()


def warn(signs: list[record_types.Sign], callbacks: Callbacks) -> int:
    """Report the sentences of new signs; return their number."""
    for sign in signs:
        callbacks.on_warning(sign["sentence"])
    return len(signs)


def fatal_sign(state: TrainingState, files: RunFiles) -> str:
    """Return the sentence of a sign that ends the training and that the newest tick has; empty without one."""
    files.wait()
    found = [sign["sentence"] for sign in state.signs if sign["sign"] in FATAL and sign["until"] is None]
    # The first rank alone has the lines of the ticks before an interruption.
    ends = distributed.any_across_ranks(bool(found) and distributed.is_first())
    return (found or ["by the first rank"])[0] if ends else ""


def step_seed(seed: int, step: int | str, rank: int = 0) -> int:
    """Return 63 bits that depend on the run's seed, the step and the rank only."""
    name = f"{seed}/{step}" if rank == 0 else f"{seed}/{step}/{rank}"
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed torch's default generators as `torch.manual_seed` does.

    torch.manual_seed also records a stack trace for each kind of device that is not in use: 0.5 ms per step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
