"""What a penalty is, and what it sees of one step of D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Turn:
    """N images, C channels. `reals` and `fakes` are un-augmented; they require grad where a penalty is `at_images`."""

    judge: Callable[[torch.Tensor], torch.Tensor]
    """Images (N, C, H, W) → D's logits (N,), through a fresh draw of the augmentation."""
    reals: torch.Tensor
    fakes: torch.Tensor
    real_logits: torch.Tensor
    """(N,), with the graph that leads back to `reals`."""
    fake_logits: torch.Tensor
    progress: float
    """The share of the budget that is done, for schedules."""


class Penalty(nn.Module):
    """A module, so that what it remembers between steps is its buffers. All draws are torch's default generator's."""

    at_images = False
    """Whether it differentiates the turn's own logits at the turn's images."""

    def forward(self, turn: Turn) -> torch.Tensor:
        """The scalar to add to D's loss."""
        raise NotImplementedError


def squared_gradients(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """(N,): for each image the squared L2 norm of its logit's gradient at it; itself differentiable."""
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.square().flatten(1).sum(1)
