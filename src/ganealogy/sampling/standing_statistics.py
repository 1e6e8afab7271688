"""Standing statistics: BatchNorm's means and variances of the generator that samples (BigGAN, arXiv 1809.11096, §4.2).

Running statistics are a decaying mean over G's last training steps, and those of an EMA are another network's: its
parameters are averaged, its buffers copied from G.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganealogy.runtime.precision import float32_as
from ganealogy.sampling.generate import BATCH, forward

BATCHES = 16
"""As in BigGAN's code."""
COUNT = BATCHES * BATCH
"""Latents that are needed."""


@torch.inference_mode()
@float32_as("fp32")
def use_standing_statistics(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor) -> None:
    """Replace each BatchNorm's statistics by their mean over batches of the latents (N, d) with labels (N,)."""
    norms = [module for module in generator.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean of all batches with equal weights
        norm.train()
    for part in zip(z.split(BATCH), labels.split(BATCH), strict=True) if norms else ():
        forward(generator, *part)
    for norm in norms:
        norm.eval()
