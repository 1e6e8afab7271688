"""What a training step costs in floating-point operations: counted, not estimated, by playing one tiny step.

Every matrix product and convolution that runs is counted as torch counts it (`torch.utils.flop_counter`): a multiply
and an add are two operations; element-wise work is left out. So penalties with their second derivative, several D steps
and augmentations cost what they cost, whatever the recipe is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganealogy.adversary import build as adversary
from ganealogy.networks import _build as networks

BATCH = 2
"""Images of the counted step: the fewest that BatchNorm takes. The count grows as the batch does."""


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of everything that runs inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        cost = flop_registry.get(function._overloadpacket)
        if cost is not None:
            self.total += int(cost(*args, **kwargs, out_val=result))
        return result

    # torch asks its compiler to leave this method alone, and to ask is to import it: two seconds. This is the answer.
    # (Written as an attribute, the name would be mangled.)
    setattr(__torch_dispatch__, "__dynamo_disable", __torch_dispatch__)


class Gradient:
    """An optimizer step that computes the gradient only: the update is element-wise."""

    def __init__(self, player: str, recipe: dict[str, Any], network: nn.Module) -> None:
        self.parameters = list(network.parameters())

    def set_progress(self, fraction: float) -> None:
        """Schedules cost nothing."""

    def backward(self, loss: torch.Tensor, retain_graph: bool = False) -> None:
        loss.backward(inputs=self.parameters, retain_graph=retain_graph)  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Element-wise."""


def per_image(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> int:
    """Operations of one training step for each image of the batch: all D steps and the G step, forward and backward.

    `recipe`, `protocol`: as in build/plan/versions/<version>.json.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two images are too little to share, and waiting threads take cores from others
    try:
        return _count(recipe, protocol)
    finally:
        torch.set_num_threads(threads)


def _count(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> int:
    with torch.random.fork_rng(devices=[]):
        generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
        game = adversary.game(recipe, generator, discriminator, build_optimizer=Gradient)
        reals = torch.zeros(BATCH, protocol["channels"], protocol["image_size"], protocol["image_size"])
        classes = torch.zeros(BATCH, dtype=torch.int64)
        with Count() as count:
            game.step(lambda _: reals, (lambda _: classes) if recipe["labels"] else None, progress=0.5)
    total: int = count.total
    return total // BATCH
