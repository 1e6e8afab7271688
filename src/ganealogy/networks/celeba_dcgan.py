"""The DCGAN of the version `celeba-dcgan`, with a linear layer at the smallest feature map.

D's first layer has width/2 channels, each further one twice as many. Depth follows the image size: 28, 32, 48, 64, 128,
…. With width 64, 3 channels, 32 pixels and latents of 100, D has 167,809 parameters and G 372,416.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

import torch
from torch import nn

from ganealogy.networks.layers.conditioning import refuse_classes
from ganealogy.networks.layers.initialisation import initialise
from ganealogy.networks.layers.sizes import ladder

SLOPE = 0.2


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]. BatchNorm and ReLU between the transposed convolutions."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = refuse_classes("celeba_dcgan", classes)
        self.side, widths = _map_sizes(image_size, width)
        widths = widths[::-1]
        self.linear = initialise(nn.Linear(latent_size, widths[0] * self.side**2), "normal")
        layers: list[nn.Module] = []
        for c_in, c_out in zip(widths, [*widths[1:], channels], strict=True):
            layers.append(initialise(nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False), "normal"))
            layers.extend([nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)])
        self.layers = nn.Sequential(*layers[:-2], nn.Tanh())

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.layers(self.linear(latents).unflatten(1, (-1, self.side, self.side)))


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,). BatchNorm from the second convolution on."""

    def __init__(self, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        refuse_classes("celeba_dcgan", classes)
        side, widths = _map_sizes(image_size, width)
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(zip([channels, *widths], widths, strict=False)):
            layers.append(initialise(nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False), "normal"))
            if index > 0:
                layers.append(nn.BatchNorm2d(c_out))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers)
        self.linear = initialise(nn.Linear(widths[-1] * side**2, 1), "normal")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.layers(images).flatten(1)).flatten()


def _map_sizes(image_size: int, width: int) -> tuple[int, list[int]]:
    """Return the side of the smallest feature map, and the channels from the finest map down to it."""
    side, halvings = ladder(image_size, "celeba_dcgan")
    return side, [width // 2 * 2**power for power in range(halvings)]


generator, discriminator = Generator, Discriminator
