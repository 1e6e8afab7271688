"""The interface of a penalty, and the discriminator step that it receives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import nn

from ganealogy.adversary.schedule import Progress
from ganealogy.runtime import distributed


@dataclass(frozen=True)
class DiscriminatorStep:
    """Inputs and logits of one D step. N images, C channels.

    `reals` and `fakes` are not augmented; they require gradients if a penalty is `at_images`.
    """

    discriminate: Callable[[torch.Tensor], torch.Tensor]
    """Images (N, C, H, W) → D's logits, (N,) or (N, K), behind a fresh draw of the augmentations."""
    reals: torch.Tensor
    fakes: torch.Tensor
    real_logits: torch.Tensor
    """(N,) or (N, K), with the graph back to `reals`."""
    fake_logits: torch.Tensor
    progress: Progress
    """Fraction of the budget that is done, for schedules."""


Every = Annotated[int, Ge(1), Le(1000)]
"""D steps per use of a penalty: see `Penalty.every`."""


class Penalty(nn.Module):
    """The class `penalty` of each file in this folder.

    State between steps is kept in buffers. Random draws use torch's default generator.
    """

    at_images = False
    """Whether it differentiates the step's logits with respect to the step's images."""
    differentiates = False
    """Whether it differentiates D with respect to any images. Such a D step may run in another precision."""

    every = 1
    """It is added in each `every`-th D step, the first included, `every` times as heavy (StyleGAN2, arXiv 1912.04958,
    appendix B). One update has both terms, so that Adam's rate and betas need no correction."""

    def forward(self, step: DiscriminatorStep) -> torch.Tensor:
        """Return the scalar to add to D's loss, as if it were in each D step."""
        raise NotImplementedError


def of_images(logits: torch.Tensor) -> torch.Tensor:
    """Return one logit per image, (N,): the mean over K judges if the logits are (N, K)."""
    return logits if logits.dim() == 1 else logits.mean(1)


def gradients(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return (N, C·H·W): the gradient of each image's logit at that image; differentiable."""
    (gradient,) = torch.autograd.grad(distributed.shard(of_images(logits)).sum(), images, create_graph=True)
    return gradient.flatten(1)
