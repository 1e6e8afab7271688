"""One player's update: the gradient of its loss, checked, clipped if asked, and taken by its optimizer."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ganealogy import components
from ganealogy.adversary.divergence import DivergenceCheck
from ganealogy.adversary.schedule import Progress, Scheduled, scheduled_value
from ganealogy.runtime import distributed, without_dynamo


class OptimizerStep:
    """An optimizer with what every optimizer may have; the keyword-only parameters are keys of a recipe."""

    def __init__(
        self,
        player: str,
        network: nn.Module,
        name: str,
        lr: float,
        options: dict[str, Any],
        *,
        schedule: Scheduled | None = None,
        clip_norm: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        """`player`: whose loss is named when it is not finite; `name`, `options`: the optimizer and its own parameters.

        `schedule`: a factor on the rate; `clip_norm`: a longer gradient is shortened to this L2 norm.
        """
        self.parameters = list(network.parameters())
        self.divergence = DivergenceCheck(player, self.parameters)
        self.lr, self.options, self.schedule, self.clip_norm = lr, options, schedule, clip_norm
        module = components.load("adversary.optimizers", name)
        without_dynamo.prepare()
        self.optimizer: torch.optim.Optimizer = module.optimizer(self.parameters, lr, **options)
        for group in self.optimizer.param_groups:
            if "capturable" in group:  # by a CUDA graph: its count of steps then lies on the card
                group["capturable"] = self.parameters[0].is_cuda

    def progress(self, share: Progress) -> None:
        """Move the rate and all scheduled parameters to where they stand when this share of the budget is done."""
        rate = self.lr * (1.0 if self.schedule is None else scheduled_value(self.schedule, share, exact=True))
        if isinstance(rate, torch.Tensor) and rate.is_cuda:
            rate = rate.float()  # fused kernels read no other type
        for group in self.optimizer.param_groups:  # its keys are the names of our parameters
            group.update(lr=rate, **{key: _at(value, share) for key, value in self.options.items()})

    def backward(self, loss: torch.Tensor, retain_graph: bool = False) -> None:
        """This player's gradient, and nobody else's."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward(inputs=self.parameters, retain_graph=retain_graph)  # type: ignore[no-untyped-call]
        distributed.average_gradients(self.parameters)
        self.divergence.check(distributed.average(loss))

    def step(self) -> None:
        if self.clip_norm is not None:
            clip_grad_norm_(self.parameters, self.clip_norm)
        without_dynamo.step(self.optimizer)


def _at(value: Any, share: Progress) -> Any:
    """A scheduled value as it now stands, also in a list (Adam's betas: torch wants a tuple); all else as it is."""
    if isinstance(value, list):
        return tuple(scheduled_value(part, share, exact=True) for part in value)
    return scheduled_value(value, share, exact=True) if isinstance(value, dict) else value
