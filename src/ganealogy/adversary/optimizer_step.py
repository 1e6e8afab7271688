"""One network's update: backward pass, finite check, gradient clipping, optimizer step."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ganealogy import components
from ganealogy.adversary.divergence import DivergenceCheck
from ganealogy.adversary.optimizers._base import OptimizerBuilder
from ganealogy.adversary.schedule import Progress, Scheduled, scheduled_value
from ganealogy.runtime import distributed, without_dynamo


class OptimizerStep:
    """An optimizer with the options that all optimizers share; its keyword-only parameters are keys of a recipe."""

    def __init__(
        self,
        network_name: str,
        network: nn.Module,
        name: str,
        lr: float,
        options: dict[str, Any],
        *,
        schedule: Scheduled | None = None,
        clip_norm: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        """`network_name`: for messages; `name`, `options`: the optimizer and its own parameters.

        `schedule`: a factor on the learning rate; `clip_norm`: the largest L2 norm of a gradient.
        """
        self.parameters = list(network.parameters())
        self.divergence = DivergenceCheck(network_name, self.parameters)
        self.lr, self.options, self.schedule, self.clip_norm = lr, options, schedule, clip_norm
        without_dynamo.prepare()
        if self.parameters:
            build: OptimizerBuilder = components.load("adversary.optimizers", name).optimizer
            self.optimizer = build(self.parameters, lr, **options)
        else:  # a version without a game: its D has no parameters
            self.optimizer = torch.optim.SGD([{"params": []}], lr)
        for group in self.optimizer.param_groups:
            if "capturable" in group:  # by a CUDA graph: the step count is then on the device
                group["capturable"] = any(parameter.is_cuda for parameter in self.parameters)

    def set_progress(self, fraction: Progress) -> None:
        """Set the learning rate and all scheduled options to their values at this fraction of the budget."""
        rate = self.lr * (1.0 if self.schedule is None else scheduled_value(self.schedule, fraction, exact=True))
        if isinstance(rate, torch.Tensor) and rate.is_cuda:
            rate = rate.float()  # fused kernels read no other type
        for group in self.optimizer.param_groups:  # its keys are the names of our options
            group.update(lr=rate, **{key: _option(value, fraction) for key, value in self.options.items()})

    def backward(self, loss: torch.Tensor, retain_graph: bool = False) -> None:
        """Compute this network's gradient, and no other.

        Raises: Diverged when the loss or the gradient is not finite.
        """
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward(inputs=self.parameters, retain_graph=retain_graph)
        distributed.average_gradients(self.parameters)
        self.divergence.check(distributed.average(loss))

    def step(self) -> None:
        """Clip the gradient, if a norm is given, and update the parameters."""
        if self.clip_norm is not None:
            clip_grad_norm_(self.parameters, self.clip_norm)
        without_dynamo.step(self.optimizer)


def _option(value: Any, fraction: Progress) -> Any:
    """Return the current value of a scheduled option, also inside a list (Adam's betas: torch requires a tuple)."""
    if isinstance(value, list):
        return tuple(scheduled_value(part, fraction, exact=True) for part in value)
    return scheduled_value(value, fraction, exact=True) if isinstance(value, dict) else value
