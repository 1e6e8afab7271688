"""The DCGAN of TensorFlow's tutorial as Keras computes it, for the version `mnist-dcgan`; any multiple of 4 from 8 up.

- `same` padding of a 5x5 kernel with stride 2 is 1 before and 2 after, in transposed convolutions too. torch's
  `padding=2, output_padding=1` has the 2 before: another network.
- BatchNorm: Keras' momentum 0.99 is torch's 0.01; epsilon is 1e-3.
- Initial kernels are Glorot uniform, biases zero.
- Feature maps are flattened as H, W, C.

With width 64, 28 pixels, 1 channel and latents of 100, G has 2,305,472 trainable parameters and 25,472 BatchNorm
statistics; D has 212,865.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import pad

from ganealogy.errors import GanealogyError
from ganealogy.networks.layers.conditioning import refuse_classes

SLOPE, DROPOUT = 0.3, 0.3
KERNEL = 5
MOMENTUM, EPSILON = 0.01, 1e-3

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def glorot(layer: Layer) -> Layer:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class SameConv2d(nn.Module):
    """Keras' Conv2D(c_out, 5, strides=2, padding="same") on even sizes."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convolution = glorot(nn.Conv2d(c_in, c_out, KERNEL, stride=2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) → (N, c_out, H/2, W/2)."""
        return self.convolution(pad(features, (1, 2, 1, 2)))


class SameConvTranspose2d(nn.Module):
    """Keras' Conv2DTranspose(c_out, 5, strides=2, padding="same", use_bias=False)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convolution = glorot(nn.ConvTranspose2d(c_in, c_out, KERNEL, stride=2, padding=1, bias=False))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) → (N, c_out, 2H, 2W). torch crops 1 on each side; the second 1 after is cropped here."""
        return self.convolution(features)[:, :, :-1, :-1]


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = _check(image_size, classes)
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
            SameConvTranspose2d(2 * width, width),
            nn.BatchNorm2d(width, EPSILON, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
            SameConvTranspose2d(width, channels),
            nn.Tanh(),
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        features = self.dense(latents).unflatten(1, (self.side, self.side, self.deepest))  # (N, H, W, C)
        return self.layers(features.permute(0, 3, 1, 2))


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(self, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        _check(image_size, classes)
        self.layers = nn.Sequential(
            SameConv2d(channels, width),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Dropout(DROPOUT),
            SameConv2d(width, 2 * width),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Dropout(DROPOUT),
        )
        self.dense = glorot(nn.Linear(2 * width * (image_size // 4) ** 2, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.layers(images).permute(0, 2, 3, 1)  # (N, H, W, C)
        return self.dense(features.flatten(1)).flatten()


def _check(image_size: int, classes: int) -> int:
    if image_size < 8 or image_size % 4:
        raise GanealogyError(f"keras_dcgan: dataset.image_size {image_size} is not a multiple of 4 from 8 up")
    return refuse_classes("keras_dcgan", classes)


generator, discriminator = Generator, Discriminator
