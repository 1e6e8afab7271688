"""Count the floating-point operations of a training step by running one with two images.

Counts matrix products and convolutions as `torch.utils.flop_counter` does: a multiply and an add are two operations,
element-wise work is left out. Penalties with their second derivatives, extra D steps and augmentations are included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganealogy.adversary import build as adversary
from ganealogy.adversary.games._base import Phase
from ganealogy.networks import _build as networks
from ganealogy.record_types import Component, Recipe, TrainingProtocol
from ganealogy.runtime import without_dynamo
from ganealogy.sampling.generate import forward

BATCH = 2
"""Images of the counted step: BatchNorm needs two. The count is proportional to the batch size."""
ROUNDS = 240
"""D's and G's turns to average over: a multiple of every usual interval of a lazy penalty."""


class OperationCounter(TorchDispatchMode):
    """Add up what `cost` returns for each operation that runs inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def cost(self, function: Any, args: Any, kwargs: Any, result: Any) -> int:
        """Return the cost of one operation of torch, given what it took and returned."""
        raise NotImplementedError

    @without_dynamo.mark_disabled
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        self.total += self.cost(function, args, kwargs, result)
        return result


class FlopCounter(OperationCounter):
    """Add up the floating-point operations."""

    def cost(self, function: Any, args: Any, kwargs: Any, result: Any) -> int:
        count = flop_registry.get(function._overloadpacket)
        return int(count(*args, **kwargs, out_val=result)) if count is not None else 0


class GradientOnly:
    """An optimizer step without the update, which is element-wise."""

    def __init__(self, network_name: str, recipe: Component, network: nn.Module) -> None:
        self.parameters = list(network.parameters())

    def set_progress(self, fraction: float) -> None:
        """Do nothing: schedules cost nothing."""

    def backward(self, loss: torch.Tensor, retain_graph: bool = False) -> None:
        loss.backward(inputs=self.parameters, retain_graph=retain_graph)

    def step(self) -> None:
        """Do nothing."""


def per_image(recipe: Recipe, protocol: TrainingProtocol) -> int:
    """Return the operations per image of one training step: all D steps and the G step, forward and backward.

    `recipe`, `protocol`: as in build/plan/versions/<version>.json.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two images are too few to share, and waiting threads occupy cores
    try:
        return _count(recipe, protocol)
    finally:
        torch.set_num_threads(threads)


def per_sample(recipe: Recipe, protocol: TrainingProtocol) -> int:
    """Return the operations of one generated picture, all steps of a sampler included."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), FlopCounter() as counter:
        generator = networks.generator(recipe, protocol).eval()
        forward(generator, torch.zeros(1, recipe["latent"]["size"]), torch.zeros(1, dtype=torch.int64))
    return counter.total


def _count(recipe: Recipe, protocol: TrainingProtocol) -> int:
    """Average the operations over `ROUNDS`: those of a lazy penalty are in some steps only."""
    with torch.random.fork_rng(devices=[]):
        generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
        game = adversary.game(recipe, generator, discriminator, build_optimizer=GradientOnly)
        reals = torch.zeros(BATCH, protocol["channels"], protocol["image_size"], protocol["image_size"])  # (N, C, H, W)
        classes = torch.zeros(BATCH, dtype=torch.int64)
        total, counted = 0, dict[Phase, int]()
        steps = ROUNDS * game.g_steps
        for number in range(steps):
            phase = game.phase(number)
            if phase not in counted:
                with FlopCounter() as counter:
                    game.step(lambda _: reals, (lambda _: classes) if recipe["labels"] else None, 0.5, number)
                counted[phase] = counter.total
            total += counted[phase]
    return total // (steps * BATCH)
