"""Train a version for four steps on random pictures: what changes, what is saved, what G draws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import nn

from ganealogy.adversary.divergence import Diverged
from ganealogy.budget import step_count
from ganealogy.record_types import VersionPlan
from ganealogy.runtime import process
from ganealogy.runtime.precision import float32_as
from ganealogy.sampling import latents
from ganealogy.sampling.generate import cycled_labels, forward
from ganealogy.training import checkpoint
from ganealogy.training.loop import seed_everything, step_seed
from ganealogy.training.state import TrainingState

BATCH, STEPS, STOP = 4, 4, 2
"""Pictures per step; steps; and the step after which a training is saved and loaded."""
TOLERANCE = 1e-5
"""Largest difference, in units of the picture's largest value, between a picture alone and in a batch."""
FAR = 10
"""Median size of an untrained G's values above which they are not meant to be in [-1, 1]."""
NAMED = 3
"""Parameters and tensors that a line names; of more, it has the number."""


@dataclass
class Found:
    faults: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Training:
    """A training of some steps, and which parameters had a gradient in any of them."""

    state: TrainingState
    plan: VersionPlan
    has_gradient: set[str] = field(default_factory=set)
    not_zero: set[str] = field(default_factory=set)

    @classmethod
    def begin(cls, plan: VersionPlan, seed: int) -> Training:
        """Draw the initial weights from a seed. The budget is that of the plan, so schedules begin as in training."""
        seed_everything(seed)
        steps = max(STEPS, step_count(plan["protocol"]))
        return cls(TrainingState(plan["recipe"], plan["protocol"], steps, "cpu"), plan)

    def run(self, last: int) -> None:
        """Train up to step `last`. Raises: ValueError when a loss is not finite; Diverged."""
        protocol, state = self.plan["protocol"], self.state
        size, channels, count = protocol["image_size"], protocol["channels"], protocol["batch_size"]
        for step in range(state.progress.step + 1, last + 1):
            seed_everything(step_seed(0, step))

            def reals(index: int, step: int = step) -> torch.Tensor:
                draws = torch.Generator().manual_seed(1000 * step + index)
                return torch.rand(count, channels, size, size, generator=draws).mul(2).sub(1)

            def labels(index: int) -> torch.Tensor:
                return torch.arange(count) % protocol["classes"]

            losses = state.train_step(reals, labels if self.plan["recipe"]["labels"] else None)
            if broken := [name for name, value in losses.items() if not torch.isfinite(value).all()]:
                raise ValueError(f"{', '.join(broken)} at step {step} of random pictures: not finite")
            for name, parameter in _parameters(state):
                if parameter.grad is not None:
                    self.has_gradient.add(name)
                    if parameter.grad.any():
                        self.not_zero.add(name)

    def tensors(self) -> dict[str, torch.Tensor]:
        return checkpoint.snapshot(self.state.tensors())


def check_training(plan: VersionPlan, threads: int = 1) -> Found:
    """Return what is wrong with a version's training, and a note on what was done.

    It trains on the CPU, on random pictures of the plan's size, in batches of at most `BATCH`.
    """
    began, found = time.perf_counter(), Found()
    plan = {**plan, "protocol": {**plan["protocol"], "batch_size": min(BATCH, plan["protocol"]["batch_size"])}}
    torch.set_num_threads(process.threads(threads))
    with torch.random.fork_rng():
        try:
            whole = Training.begin(plan, 0)
            _calibrate(whole)
            before = {name: parameter.detach().clone() for name, parameter in _parameters(whole.state)}
            whole.run(STOP)
            halfway = whole.tensors()
            whole.run(STEPS)
        except (Diverged, ValueError) as error:
            found.faults.append(f"{error}; check its loss and penalties")
            return found
        found.faults += _never_trained(whole, before)
        found.faults += _not_resumed(plan, halfway, whole.tensors())
        found.faults += _pictures(whole)
        still = [name for name, _ in _parameters(whole.state) if name in whole.has_gradient - whole.not_zero]
    seconds = time.perf_counter() - began
    found.note = f"{STEPS} steps of {plan['protocol']['batch_size']} random pictures in {seconds:.1f} s"
    if still:
        found.note += f"; gradient 0 in all of them: {_some(still)}"
    return found


def _calibrate(training: Training) -> None:
    protocol = training.plan["protocol"]
    shape = (protocol["batch_size"], protocol["image_size"], protocol["image_size"], protocol["channels"])
    training.state.calibrate(torch.randint(0, 256, shape, dtype=torch.uint8).numpy())


def _parameters(state: TrainingState) -> Iterator[tuple[str, nn.Parameter]]:
    for network, module in (("G", state.generator), ("D", state.discriminator)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield f"{network}'s {name}", parameter


def _never_trained(training: Training, before: dict[str, torch.Tensor]) -> Iterator[str]:
    now = dict(_parameters(training.state))
    unfinished = [name for name, parameter in now.items() if not torch.isfinite(parameter).all()]
    if unfinished:
        yield f"not finite after {STEPS} steps: {_some(unfinished)}; lower its rate or check its initial weights"
    unused = [
        name
        for name, parameter in now.items()
        if name not in training.has_gradient and torch.equal(parameter, before[name])
    ]
    if unused:
        yield (
            f"no gradient reaches {_some(unused)} in {STEPS} steps: use it in forward, do not detach what depends on "
            "it, or make it a buffer"
        )


def _not_resumed(
    plan: VersionPlan, halfway: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> Iterator[str]:
    """Compare a training that was saved, loaded and continued with one without interruption, byte by byte."""
    first = Training.begin(plan, 0)
    _calibrate(first)
    first.run(STOP)
    if differing := _differing(halfway, first.tensors()):
        yield (
            f"two trainings of one seed differ after {STOP} steps, in {_some(differing)}: draw from torch's generator "
            "only, not from random or numpy, and keep no state in the module or its class"
        )
        return
    resumed = Training.begin(plan, 1)  # other weights: what the checkpoint lacks stays different
    try:
        resumed.state.restore(load_tensors(dump_tensors(first.tensors())))
    except (RuntimeError, KeyError) as error:
        yield f"a checkpoint cannot be loaded ({' '.join(str(error).split())}): keep the same buffers at every step"
        return
    resumed.state.progress = first.state.progress
    resumed.run(STEPS)
    if differing := _differing(expected, resumed.tensors()):
        yield (
            f"a training that is saved and loaded after {STOP} steps differs from one without interruption, in "
            f"{_some(differing)}: keep what changes between steps in buffers (register_buffer), which checkpoints have"
        )


def _differing(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> list[str]:
    names = sorted(expected.keys() | found.keys())
    return [
        name
        for name in names
        if name not in expected or name not in found or not torch.equal(expected[name], found[name])
    ]


@torch.inference_mode()
@float32_as("fp32")
def _pictures(training: Training) -> list[str]:
    """Return what is wrong with the pictures of G in evaluation mode."""
    return list(_picture_faults(training))


def _picture_faults(training: Training) -> Iterator[str]:
    protocol, generator = training.plan["protocol"], training.state.eval_generator.eval()
    z = latents.sample_latents(training.plan["recipe"]["latent"], BATCH, 0)
    labels = cycled_labels(generator, BATCH)
    together = forward(generator, z, labels)
    expected = (BATCH, protocol["channels"], protocol["image_size"], protocol["image_size"])
    if tuple(together.shape) != expected:
        yield f"G returns {tuple(together.shape)} for {BATCH} latents, expected {expected}"
        return
    if not torch.isfinite(together).all():
        yield "G's pictures in evaluation mode are not finite; check its normalisation"
        return
    low, high = float(together.min()), float(together.max())
    if low >= 0 or high <= 0 or together.abs().median() > FAR:
        yield f"G's values are from {low:.3g} to {high:.3g}, and black is -1 and white 1: end in Tanh, or scale them"
    if torch.equal(together, together[:1].expand_as(together)):
        yield "G draws the same picture from different latents: use the latents in forward"
    if not torch.equal(together, forward(generator, z, labels)):
        yield "G draws another picture from the same latent: draw noise in training mode only"
        return
    alone = torch.cat([forward(generator, *each) for each in zip(z.split(1), labels.split(1), strict=True)])
    difference = float((alone - together).abs().max() / together.abs().max().clamp(min=1))
    if difference > TOLERANCE:
        yield (
            f"a picture of G differs by {difference:.2g} alone and in a batch: in evaluation mode use no statistics of "
            "the batch"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
