"""The DCGAN of the anime tutorial, at any power of two from 16 pixels up.

Radford et al., arXiv 1511.06434, in the shape of the Jovian tutorial "06b-anime-dcgan": every convolution has a 4x4
kernel; depth follows the image size, one halving a layer. With width 64 and 3 channels, parameters of D / G are
2,765,696 / 3,806,080 at 64 pixels, 663,424 / 1,183,616 at 32, 11,164,544 / 13,245,312 at 128.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from math import log2
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganealogy.errors import GanealogyError

SLOPE = 0.2


def layer_count(image_size: int) -> int:
    """Halvings from the image down to 4x4."""
    if image_size < 16 or image_size & (image_size - 1):
        raise GanealogyError(
            f"dcgan: dataset.image_size {image_size} is not a power of two from 16 up (16, 32, 64, 128, …)"
        )
    return int(log2(image_size)) - 2


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, activation: str) -> None:
        super().__init__()
        widths = [width * 2**power for power in range(layer_count(image_size) - 1, -1, -1)]
        layers: list[nn.Module] = []
        for index, (inner, outer) in enumerate(zip([latent_size, *widths], [*widths, channels], strict=True)):
            stride, padding = (1, 0) if index == 0 else (2, 1)  # 1x1 → 4x4, then each layer doubles
            layers.append(nn.ConvTranspose2d(inner, outer, 4, stride, padding, bias=False))
            if index < len(widths):
                layers.append(nn.BatchNorm2d(outer))
                layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.layers(latents[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,): above 0 for "real"; the sigmoid belongs to the loss."""

    def __init__(self, channels: int, image_size: int, width: int, norm: str, slope: float) -> None:
        super().__init__()
        widths = [width * 2**power for power in range(layer_count(image_size))]
        layers: list[nn.Module] = []
        bias = norm != "batch"  # BatchNorm has a shift of its own
        for inner, outer in zip([channels, *widths], widths, strict=False):
            layers.append(self._normed(nn.Conv2d(inner, outer, 4, 2, 1, bias=bias), norm))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(outer))
            layers.append(nn.LeakyReLU(slope, inplace=True))
        layers.append(self._normed(nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=bias), norm))  # 4x4 → 1x1
        self.layers = nn.Sequential(*layers)

    @staticmethod
    def _normed(convolution: nn.Conv2d, norm: str) -> nn.Module:
        return spectral_norm(convolution) if norm == "spectral" else convolution

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images).flatten()
        return logits


def generator(
    latent_size: int,
    channels: int,
    image_size: int,
    width: int,
    *,
    activation: Literal["relu", "leaky_relu"] = "relu",
) -> nn.Module:
    """`activation`: what follows BatchNorm in the hidden layers; the output is tanh."""
    return Generator(latent_size, channels, image_size, width, activation)


def discriminator(
    channels: int,
    image_size: int,
    width: int,
    *,
    norm: Literal["batch", "spectral", "none"] = "batch",
    slope: Annotated[float, Ge(0), Lt(1)] = SLOPE,
) -> nn.Module:
    """`norm`: BatchNorm after every hidden convolution, spectral norm on every one (arXiv 1802.05957), or neither."""
    return Discriminator(channels, image_size, width, norm, slope)
