"""The interface of a penalty, and the discriminator step that it receives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ganealogy.adversary.schedule import Progress
from ganealogy.runtime import distributed


@dataclass(frozen=True)
class DiscriminatorStep:
    """Inputs and logits of one D step. N images, C channels.

    `reals` and `fakes` are not augmented; they require gradients if a penalty is `at_images`.
    """

    discriminate: Callable[[torch.Tensor], torch.Tensor]
    """Images (N, C, H, W) → D's logits (N,), behind a fresh draw of the augmentations."""
    reals: torch.Tensor
    fakes: torch.Tensor
    real_logits: torch.Tensor
    """(N,), with the graph back to `reals`."""
    fake_logits: torch.Tensor
    progress: Progress
    """Fraction of the budget that is done, for schedules."""


class Penalty(nn.Module):
    """The class `penalty` of each file in this folder.

    State between steps is kept in buffers. Random draws use torch's default generator.
    """

    at_images = False
    """Whether it differentiates the step's logits with respect to the step's images."""
    differentiates = False
    """Whether it differentiates D with respect to any images. Such a D step may run in another precision."""

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return the scalar to add to D's loss."""
        raise NotImplementedError


def gradients(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return (N, C·H·W): the gradient of each image's logit at that image; differentiable."""
    (gradient,) = torch.autograd.grad(distributed.shard(logits).sum(), images, create_graph=True)
    return gradient.flatten(1)
