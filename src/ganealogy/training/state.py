"""Everything that a training changes, and its conversion to and from a checkpoint's tensors."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganealogy import record_types
from ganealogy.adversary import build as adversary
from ganealogy.errors import GanealogyError
from ganealogy.networks import _build as networks
from ganealogy.runtime import distributed, precision
from ganealogy.training import checkpoint
from ganealogy.training.best_checkpoint import Best
from ganealogy.training.cuda_graph import CUDAGraphs
from ganealogy.training.ema import EMA
from ganealogy.training.start import Start

DEFERRED_CHECK_DEVICES = {"cuda"}
"""Device types on which reading a value forces a sync: finite checks are deferred to the next tick."""
CALIBRATION_IMAGES = 256
"""Training pictures that a discriminator's `calibrate` receives."""
GRAPHS = "GANEALOGY_CUDA_GRAPHS"
"""Environment variable. 0 launches every operation by itself; results agree within rounding, so no protocol has it."""


@dataclass
class Progress:
    """Counters of a training; a checkpoint's JSON, field by field."""

    step: int = 0
    ticks: int = 0
    summed: dict[str, int] = field(default_factory=dict)
    """Steps in each of the running loss sums: G may be updated without D."""
    seconds: float = 0.0
    tick_seconds: list[float] = field(default_factory=list)
    resumed: int = 0


class TrainingState:
    """G, D, their game with its optimizers, the EMA of G, the running loss sums, the best weights and the counters."""

    def __init__(
        self,
        recipe: record_types.Recipe,
        protocol: record_types.TrainingProtocol,
        steps: int,
        device: str,
        warn: Callable[[str], None] = print,
    ) -> None:
        """Draw the initial weights from torch's default generator.

        `steps`: G updates of the whole budget; `warn` is called with messages about lost speed.
        """
        generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
        self.generator = distributed.sync_batch_norm(generator.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        self.discriminator = distributed.sync_batch_norm(discriminator.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        self.game = adversary.game(recipe, self.generator, self.discriminator, protocol["precision"])
        budget_kimg = steps * protocol["batch_size"] / 1000
        self.ema = None if recipe["ema"] is None else EMA(self.generator, budget_kimg, **recipe["ema"])
        self.steps, self.batch_size, self.device = steps, protocol["batch_size"], device
        self.progress, self.best = Progress(), Best()
        self.signs: list[record_types.Sign] = []
        """Of the ticks so far: a function of the lines of metrics.jsonl, so no checkpoint has it."""
        self.loss_sums: dict[str, torch.Tensor] = {}
        self.ema_kimg = 0.0
        """Length of the training that the EMA comes from, if not from this one."""

        self.step: Callable[..., dict[str, torch.Tensor]] = self.game.step
        """`step(reals, labels, progress, number)`: one G update, see `adversary/games/`."""
        self.checks_are_deferred = torch.device(device).type in DEFERRED_CHECK_DEVICES
        if self.checks_are_deferred:
            self.game.gan.defer_divergence_checks()
        # Collectives between ranks cannot be captured in a graph.
        if self.checks_are_deferred and distributed.world_size() == 1 and use_graphs():
            self.step = CUDAGraphs(self.game, device, self.network_tensors, warn).step

    def calibrate(self, images: NDArray[np.uint8]) -> None:
        """Show D some training pictures of uint8 (N, H, W, C) before the first step, if it asks for them."""
        if hasattr(self.discriminator, "calibrate"):
            some = torch.from_numpy(images[:: max(1, len(images) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES])
            self.discriminator.calibrate(some.permute(0, 3, 1, 2).to(self.device).float().div(127.5).sub(1))  # type: ignore[operator]

    @property
    def eval_generator(self) -> nn.Module:
        """The generator that grids show and later stages read: the EMA where the recipe has one."""
        return self.generator if self.ema is None else self.ema.generator

    @property
    def eval_generator_name(self) -> str:
        return "generator" if self.ema is None else "running mean of the generator (EMA)"

    def train_step(
        self, reals: Callable[[int], torch.Tensor], labels: Callable[[int], torch.Tensor] | None
    ) -> dict[str, torch.Tensor]:
        """Update D and G, the EMA, the loss sums and the step count. Return the step's detached scalars.

        `reals(i)`, `labels(i)`: see `adversary/games/_base.py`.
        Raises: Diverged before an update that would spoil the weights.
        """
        losses = self.step(reals, labels, progress=self.progress.step / self.steps, number=self.progress.step)
        self.progress.step += 1
        if self.ema is not None:
            kimg = self.progress.step * self.batch_size / 1000
            self.ema.update(self.ema_kimg + kimg, self.batch_size / 1000, self.progress.step / self.steps)
        for name, value in losses.items():
            wide = value.to(precision.widest(value.device))
            self.loss_sums[name] = self.loss_sums[name] + wide if name in self.loss_sums else wide
            self.progress.summed[name] = self.progress.summed.get(name, 0) + 1
        return losses

    def raise_if_diverged(self) -> None:
        """Raises: DivergedEarlier if a deferred finite check has failed."""
        self.game.gan.raise_if_diverged()

    def mean_losses(self) -> dict[str, float]:
        """Return the means of the losses since the last tick, over all ranks; one device sync for all of them."""
        if not self.loss_sums:
            return {}
        names = sorted(self.loss_sums)
        totals: list[float] = distributed.average(torch.stack([self.loss_sums[name] for name in names])).tolist()
        return {name: total / self.progress.summed[name] for name, total in zip(names, totals, strict=True)}

    def start_next_tick(self) -> None:
        self.progress.ticks += 1
        self.progress.tick_seconds.append(round(self.progress.seconds, 2))
        self.progress.summed.clear()
        self.loss_sums.clear()

    def scalars(self, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return a step's d_loss (with a D), g_loss, and the tracker's newest (`fd`) and best score; forces a sync."""
        scalars: dict[str, float] = {name: losses[name].item() for name in ("d_loss", "g_loss") if name in losses}
        if self.best.latest is not None:
            scalars["fd"] = self.best.latest
        if self.best.record is not None:
            scalars["best"] = self.best.record["score"]
        return scalars

    def evaluated_tensors(self) -> dict[str, torch.Tensor]:
        """Return `eval_generator`'s and D's state under the names of a checkpoint; the tensors themselves."""
        discriminator = checkpoint.named("discriminator", self.discriminator.state_dict())
        return {**checkpoint.named("generator", self.eval_generator.state_dict()), **discriminator}

    def network_tensors(self) -> dict[str, torch.Tensor]:
        """Return all that a step changes, under the names of a checkpoint; the tensors themselves, not copies."""
        gan = self.game.gan
        parts = {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "g_optimizer": gan.g_optimizer.optimizer.state_dict()["state"],
            "d_optimizer": gan.d_optimizer.optimizer.state_dict()["state"],
            "game": gan.state_dict(),
            "ema": {} if self.ema is None else self.ema.state_dict(),
        }
        return {
            name: tensor for part, values in parts.items() for name, tensor in checkpoint.named(part, values).items()
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return `network_tensors` and the loss sums, averaged over the ranks."""
        sums = {name: distributed.average(value) for name, value in self.loss_sums.items()}
        return {**self.network_tensors(), **checkpoint.named("sums", sums)}

    def start_from(self, start: Start) -> None:
        """Load another training's networks, EMA, and moments of optimizers of the same kind; all else begins anew.

        Without its moments, Adam's first steps are as large as any, whatever the gradient. Penalties and augmentations
        may count the progress, which begins anew. An EMA continues; where the other training had none, it begins with
        the generator.
        """
        gan = self.game.gan
        for network, step in (("generator", gan.g_optimizer), ("discriminator", gan.d_optimizer)):
            getattr(self, network).load_state_dict(checkpoint.below(network, start.tensors))
            if network in start.optimizers:
                moments = checkpoint.below(f"{network[0]}_optimizer", start.tensors)
                checkpoint.restore_optimizer(step.optimizer, moments)
        if self.ema is not None:
            average = checkpoint.below("ema", start.tensors)
            self.ema.load_state_dict(average or self.generator.state_dict())
            self.ema_kimg = start.kimg if average else 0.0

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Load the tensors of a checkpoint of the same recipe and protocol."""
        gan = self.game.gan
        self.generator.load_state_dict(checkpoint.below("generator", tensors))
        self.discriminator.load_state_dict(checkpoint.below("discriminator", tensors))
        checkpoint.restore_optimizer(gan.g_optimizer.optimizer, checkpoint.below("g_optimizer", tensors))
        checkpoint.restore_optimizer(gan.d_optimizer.optimizer, checkpoint.below("d_optimizer", tensors))
        gan.load_state_dict(checkpoint.below("game", tensors))
        if self.ema is not None:
            self.ema.load_state_dict(checkpoint.below("ema", tensors))
        on_device = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.loss_sums = checkpoint.below("sums", on_device)
        self.best.weights = checkpoint.below("best", on_device)


def use_graphs() -> bool:
    """Read GANEALOGY_CUDA_GRAPHS. Raises: GanealogyError for anything but 0 and 1."""
    value = os.environ.get(GRAPHS, "1")
    if value not in ("0", "1"):
        raise GanealogyError(f"{GRAPHS}={value}: set it to 0 (no CUDA graphs) or 1, or unset it")
    return value == "1"
