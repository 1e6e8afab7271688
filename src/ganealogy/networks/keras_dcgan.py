"""The DCGAN of TensorFlow's tutorial, with Keras' ways: as `mnist-dcgan` has it, at any multiple of 4 from 8 up.

With width 64, 28 pixels, 1 channel and latents of 100, G has 2,305,472 trainable parameters and 25,472 BatchNorm
statistics; D has 212,865.

- `same` padding for a 5x5 kernel at stride 2 is 1 before and 2 after; the transposed convolution crops alike. torch's
  `padding=2, output_padding=1` puts the 2 first: another network.
- BatchNorm: Keras' momentum 0.99 is torch's 0.01; epsilon 1e-3.
- Kernels begin as Glorot's uniform, biases as zero.
- Feature maps are flattened as H, W, C.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import pad

from ganealogy.errors import GanealogyError
from ganealogy.networks.layers.conditioning import refuse

SLOPE, DROPOUT = 0.3, 0.3
KERNEL = 5
MOMENTUM, EPSILON = 0.01, 1e-3

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def glorot(layer: Layer) -> Layer:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class SameHalving(nn.Module):
    """Keras' Conv2D(outer, 5, strides=2, padding="same") on even sizes."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convolution = glorot(nn.Conv2d(inner, outer, KERNEL, stride=2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, inner, H, W) → (N, outer, H/2, W/2)."""
        result: torch.Tensor = self.convolution(pad(features, (1, 2, 1, 2)))
        return result


class SameDoubling(nn.Module):
    """Keras' Conv2DTranspose(outer, 5, strides=2, padding="same", use_bias=False)."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convolution = glorot(nn.ConvTranspose2d(inner, outer, KERNEL, stride=2, padding=1, bias=False))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, inner, H, W) → (N, outer, 2H, 2W). torch crops 1 on each side; the second one after is cropped here."""
        result: torch.Tensor = self.convolution(features)
        return result[:, :, :-1, :-1]


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int) -> None:
        super().__init__()
        self.classes = 0
        self.side, self.deepest = image_size // 4, 4 * width
        units = self.deepest * self.side**2
        self.dense = nn.Sequential(
            glorot(nn.Linear(latent_size, units, bias=False)),
            nn.BatchNorm1d(units, EPSILON, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.layers = nn.Sequential(
            glorot(nn.ConvTranspose2d(4 * width, 2 * width, KERNEL, padding=2, bias=False)),
            nn.BatchNorm2d(2 * width, EPSILON, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
            SameDoubling(2 * width, width),
            nn.BatchNorm2d(width, EPSILON, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
            SameDoubling(width, channels),
            nn.Tanh(),
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        features = self.dense(latents).unflatten(1, (self.side, self.side, self.deepest))  # (N, H, W, C)
        images: torch.Tensor = self.layers(features.permute(0, 3, 1, 2))
        return images


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(self, channels: int, image_size: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            SameHalving(channels, width),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Dropout(DROPOUT),
            SameHalving(width, 2 * width),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Dropout(DROPOUT),
        )
        self.dense = glorot(nn.Linear(2 * width * (image_size // 4) ** 2, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.layers(images).permute(0, 2, 3, 1)  # (N, H, W, C)
        logits: torch.Tensor = self.dense(features.flatten(1)).flatten()
        return logits


def _check(image_size: int, classes: int) -> None:
    refuse("keras_dcgan", classes)
    if image_size < 8 or image_size % 4:
        raise GanealogyError(f"keras_dcgan: dataset.image_size {image_size} is not a multiple of 4 from 8 up")


def generator(latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> nn.Module:
    _check(image_size, classes)
    return Generator(latent_size, channels, image_size, width)


def discriminator(channels: int, image_size: int, width: int, classes: int = 0) -> nn.Module:
    _check(image_size, classes)
    return Discriminator(channels, image_size, width)
