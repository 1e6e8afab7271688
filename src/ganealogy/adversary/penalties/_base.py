"""What a penalty is, and what it sees of one step of D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ganealogy.adversary.schedule import Progress
from ganealogy.runtime import distributed


@dataclass(frozen=True)
class DiscriminatorStep:
    """N images, C channels. `reals` and `fakes` are un-augmented; they require grad where a penalty is `at_images`."""

    discriminate: Callable[[torch.Tensor], torch.Tensor]
    """Images (N, C, H, W) → D's logits (N,), through a fresh draw of the augmentation."""
    reals: torch.Tensor
    fakes: torch.Tensor
    real_logits: torch.Tensor
    """(N,), with the graph that leads back to `reals`."""
    fake_logits: torch.Tensor
    progress: Progress
    """The share of the budget that is done, for schedules."""


class Penalty(nn.Module):
    """A module, so that what it remembers between steps is its buffers. All draws are torch's default generator's."""

    at_images = False
    """Whether it differentiates the step's own logits at the step's images."""
    differentiates = False
    """Whether it differentiates D at images, its own or the step's: the precision of D's step may then be another."""

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """The scalar to add to D's loss."""
        raise NotImplementedError


def gradients(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """(N, C·H·W): for each image the gradient of its own logit at it; itself differentiable."""
    (found,) = torch.autograd.grad(distributed.shard(logits).sum(), images, create_graph=True)
    return found.flatten(1)
