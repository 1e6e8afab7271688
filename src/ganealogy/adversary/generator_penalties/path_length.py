"""Path length: equal steps of the style change the image equally (Karras et al., arXiv 1912.04958, section 3.2).

λ E[(‖Jᵀy‖ - a)²], where J is the Jacobian of the image at its styles w, y a random image, and a the running mean of the
length. As in the authors' code, y is N(0, 1) divided by the image's side, which makes λ the same at any size; the
length is the root of the mean over layers, and half of a batch is used. In their code the gradient also passes through
the batch's share of a, one hundredth; here a is a constant.
"""

from __future__ import annotations

from typing import Any

import torch

from ganealogy.adversary.generator_penalties._base import GeneratorPenalty, GeneratorStep
from ganealogy.adversary.penalties._base import Every
from ganealogy.adversary.schedule import Decay, Scheduled, scheduled_value
from ganealogy.runtime import distributed

SHRINK = 2
"""Images of a G step per image of the penalty."""


class PathLength(GeneratorPenalty):
    methods = ("style", "synthesise")
    mean: torch.Tensor
    """(): the running mean of the length, initially 0."""

    def __init__(self, *, weight: Scheduled = 2.0, decay: Decay = 0.99, every: Every = 4) -> None:
        """`weight`: λ; `decay`: fraction of the running mean kept per use; `every`: G steps per use."""
        super().__init__()
        self.weight, self.decay, self.every = weight, decay, every
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, step: GeneratorStep) -> torch.Tensor:
        """Differentiate images with respect to the styles (N, L, d) of all layers."""
        generator: Any = step.generator
        styles = generator.style(step.latents[: -(-len(step.latents) // SHRINK)])
        images = generator.synthesise(styles)
        noise = torch.randn_like(images) / images.shape[-1]
        (gradient,) = torch.autograd.grad((images * noise).sum(), styles, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()  # (N,)
        self.mean.lerp_(distributed.average(lengths.mean()), 1 - self.decay)
        return scheduled_value(self.weight, step.progress) * (lengths - self.mean.clone()).square().mean()


generator_penalty = PathLength
