"""All that a training changes, and how it goes into a checkpoint and comes back."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ganealogy.adversary import build as adversary
from ganealogy.errors import GanealogyError
from ganealogy.networks import _build as networks
from ganealogy.runtime import distributed
from ganealogy.training import checkpoint, cuda_graph
from ganealogy.training.ema import EMA

DEFERRED_CHECK_DEVICES = {"cuda"}
"""Types of device whose host works ahead of them: it should read no number before it must."""
GRAPHS = "GANEALOGY_CUDA_GRAPHS"
"""Environment variable: 0 has every operation launched by itself. The results are the same within rounding, so that it
belongs to no protocol."""


class TrainingState:
    """Networks, their game with its optimizers, and the running mean of G where the recipe has one."""

    def __init__(
        self,
        recipe: dict[str, Any],
        protocol: dict[str, Any],
        device: str,
        warn: Callable[[str], None] = print,
    ) -> None:
        """The networks' first weights are the next draws of torch's default generator.

        `warn` is called with what costs speed.
        """
        generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
        self.generator = distributed.synchronise(generator.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        self.discriminator = distributed.synchronise(discriminator.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        self.game = adversary.game(recipe, self.generator, self.discriminator, protocol["precision"])
        self.ema = None if recipe["ema"] is None else EMA(self.generator, **recipe["ema"])
        self.step, self.ahead = self.game.step, torch.device(device).type in DEFERRED_CHECK_DEVICES
        """`step(reals, labels, progress)` is one G update: see `adversary/games/`."""
        if self.ahead:
            self.game.gan.defer()
        if self.ahead and distributed.world_size() == 1 and use_graphs():  # what ranks tell each other is in no graph
            self.step = cuda_graph.CUDAGraphStep(self.game, device, self.tensors, warn).step

    @property
    def eval_generator(self) -> nn.Module:
        """The generator whose pictures people see and whose weights later stages read."""
        return self.generator if self.ema is None else self.ema.generator

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything under the names that it has in a checkpoint."""
        state = {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "g_optimizer": self.game.gan.g_optimizer.optimizer.state_dict()["state"],
            "d_optimizer": self.game.gan.d_optimizer.optimizer.state_dict()["state"],
            "game": self.game.gan.state_dict(),
            "ema": {} if self.ema is None else self.ema.state_dict(),
        }
        return {name: tensor for part, values in state.items() for name, tensor in checkpoint.flatten(part, values)}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put back what `tensors` of the same recipe returned."""
        self.generator.load_state_dict(checkpoint.below("generator", tensors))
        self.discriminator.load_state_dict(checkpoint.below("discriminator", tensors))
        checkpoint.restore_optimizer(self.game.gan.g_optimizer.optimizer, checkpoint.below("g_optimizer", tensors))
        checkpoint.restore_optimizer(self.game.gan.d_optimizer.optimizer, checkpoint.below("d_optimizer", tensors))
        self.game.gan.load_state_dict(checkpoint.below("game", tensors))
        if self.ema is not None:
            self.ema.load_state_dict(checkpoint.below("ema", tensors))


def use_graphs() -> bool:
    """Read GANEALOGY_CUDA_GRAPHS. Raises: GanealogyError for anything but 0 and 1."""
    value = os.environ.get(GRAPHS, "1")
    if value not in ("0", "1"):
        raise GanealogyError(f"{GRAPHS}={value}: set it to 0 (no CUDA graphs) or 1, or unset it")
    return value == "1"
