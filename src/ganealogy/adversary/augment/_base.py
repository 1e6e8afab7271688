"""What an augmentation is. N images, C channels."""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.adversary.schedule import Progress


class Augmentation(nn.Module):
    """A module, so that what it remembers between steps is its buffers. All draws are torch's default generator's."""

    def forward(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        """(N, C, H, W) → the same shape; differentiable. `progress`: the share of the budget done, for schedules."""
        raise NotImplementedError

    def observe(self, real_logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """Told D's logits on the (augmented) reals of each D step, (N,); returns what the curves should show."""
        return {}
