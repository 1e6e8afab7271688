"""Multilayer perceptrons on flattened images, for the version `mnist-mlp`; any image size and number of channels.

Hidden layers have 4 x width units. With width 64, 28 pixels, 1 channel and latents of 64, D has 267,009 parameters and
G 283,920.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.networks.layers.conditioning import refuse_classes

SLOPE = 0.2


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes, hidden = refuse_classes("mlp", classes), 4 * width
        self.layers = nn.Sequential(
            nn.Linear(latent_size, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels * image_size**2),
            nn.Tanh(),
            nn.Unflatten(1, (channels, image_size, image_size)),
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.layers(latents)


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(self, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        refuse_classes("mlp", classes)
        hidden = 4 * width
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * image_size**2, hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Linear(hidden, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).flatten()


generator, discriminator = Generator, Discriminator
