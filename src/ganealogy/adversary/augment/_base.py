"""The interface of an augmentation. N images, C channels."""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.adversary.schedule import Progress


class Augmentation(nn.Module):
    """The class `augment` of each file in this folder.

    State between steps is kept in buffers. Random draws use torch's default generator.
    """

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        """Return augmented images (N, C, H, W); differentiable. `progress`: fraction of the budget, for schedules."""
        raise NotImplementedError

    def observe(self, real_logits: torch.Tensor, progress: Progress) -> dict[str, torch.Tensor]:
        """Receive D's logits (N,) of the augmented reals after each D step; return scalars for the curves."""
        return {}
