"""The residual networks of Mimicry's SNGAN and DCGAN for CIFAR-10 (Lee and Town, arXiv 2005.02494).

Those of Miyato et al. (arXiv 1802.05957, table 4), with 256 channels at every size in G and 128 in D, as the authors of
Mimicry wrote them down (github.com/kwotsin/mimicry, sngan_32.py, dcgan_cifar.py, resblocks.py). What differs from the
paper's is kept: doubling is bilinear, biases have PyTorch's initial values, and ReLU is in front of both ways through
all of D's blocks but the first. `sngan.py` has the same blocks at a fraction of the cost.

D has `train.width` channels and G twice as many: width 128 is the published size. At 32 pixels with 3 channels and
latents of 128, D then has 1,053,825 parameters and G 4,276,739, with and without spectral norm.

Mimicry has these networks at 32 pixels only. At other sizes here G doubles from the smallest map, and D halves to 8x8
(28: 7x7, 48: 12x12), where it has its two blocks of one size.

Without spectral norm, an untrained D's logits are as large as 100 on either side, as those of the published network:
cross-entropy may then leave G as it is until D has moved.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from ganealogy.networks.layers.conditioning import refuse_classes
from ganealogy.networks.layers.sizes import ladder
from ganealogy.networks.layers.spectral import spectral_norm

Levels = Literal["symmetric", "unit"]
"""Where pixels lie inside the networks: in [-1, 1], or in [0, 1] as those of the DCGAN."""


def glorot(layer: nn.Conv2d | nn.Linear, gain: float, spectral: bool = False) -> nn.Module:
    """Give the layer Glorot uniform weights, leave its biases, and normalise it if `spectral`."""
    nn.init.xavier_uniform_(layer.weight, gain)
    return spectral_norm(layer) if spectral else layer


def convolution(c_in: int, c_out: int, kernel: int, gain: float, spectral: bool = False) -> nn.Module:
    """Return a convolution that preserves the size."""
    return glorot(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), gain, spectral)


def double(features: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) → (N, C, 2H, 2W)."""
    return interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


class UpBlock(nn.Module):
    """G's block: BatchNorm, ReLU, doubling, 3x3, BatchNorm, ReLU, 3x3; the shortcut is a doubled 1x1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1 = convolution(width, width, 3, sqrt(2))
        self.conv2 = convolution(width, width, 3, sqrt(2))
        self.shortcut = convolution(width, width, 1, 1.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, width, H, W) → (N, width, 2H, 2W)."""
        residual = self.conv1(double(relu(self.norm1(features))))
        # Bilinear doubling commutes with a 1x1 convolution; this order needs a quarter of the FLOPs.
        return self.conv2(relu(self.norm2(residual))) + double(self.shortcut(features))


class FirstBlock(nn.Module):
    """D's first block: 3x3, ReLU, 3x3, average pooling; the shortcut is a pooled 1x1."""

    def __init__(self, channels: int, width: int, spectral: bool) -> None:
        super().__init__()
        self.conv1 = convolution(channels, width, 3, sqrt(2), spectral)
        self.conv2 = convolution(width, width, 3, sqrt(2), spectral)
        self.shortcut = convolution(channels, width, 1, 1.0, spectral)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) → (N, width, H/2, W/2)."""
        return avg_pool2d(self.conv2(relu(self.conv1(images))), 2) + self.shortcut(avg_pool2d(images, 2))


class HalvingBlock(FirstBlock):
    """D's further block that halves: ReLU, then as the first."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) → (N, width, H/2, W/2)."""
        return super().forward(relu(features))  # Mimicry's ReLU is in place, so its shortcut gets it too


class SameSizeBlock(nn.Module):
    """D's later blocks: ReLU, 3x3, ReLU, 3x3, plus what the first ReLU returns."""

    def __init__(self, width: int, spectral: bool) -> None:
        super().__init__()
        self.conv1 = convolution(width, width, 3, sqrt(2), spectral)
        self.conv2 = convolution(width, width, 3, sqrt(2), spectral)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, width, H, W) → (N, width, H, W)."""
        features = relu(features)
        return self.conv2(relu(self.conv1(features))) + features


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]."""

    def __init__(
        self,
        latent_size: int,
        channels: int,
        image_size: int,
        width: int,
        classes: int = 0,
        *,
        levels: Levels = "symmetric",
    ) -> None:
        """`levels`: symmetric ends in tanh; unit in a sigmoid, whose pixels are stretched from [0, 1] to [-1, 1]."""
        super().__init__()
        self.classes, self.levels = refuse_classes("mimicry", classes), levels
        self.side, doublings = ladder(image_size, "mimicry")
        width *= 2
        self.linear = glorot(nn.Linear(latent_size, width * self.side**2), 1.0)
        self.blocks = nn.Sequential(*(UpBlock(width) for _ in range(doublings)))
        self.norm = nn.BatchNorm2d(width)
        self.to_image = convolution(width, channels, 3, 1.0)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.linear(latents).unflatten(1, (-1, self.side, self.side)))
        pixels = self.to_image(relu(self.norm(features)))
        return torch.tanh(pixels) if self.levels == "symmetric" else 2 * torch.sigmoid(pixels) - 1


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int,
        classes: int = 0,
        *,
        norm: Literal["spectral", "none"] = "spectral",
        levels: Levels = "symmetric",
    ) -> None:
        """`norm`: spectral norm on every layer, or none; `levels`: unit takes pixels to [0, 1] first."""
        super().__init__()
        refuse_classes("mimicry", classes)
        _, halvings = ladder(image_size, "mimicry")
        self.levels, spectral = levels, norm == "spectral"
        self.layers = nn.Sequential(
            FirstBlock(channels, width, spectral),
            *(HalvingBlock(width, width, spectral) for _ in range(max(1, halvings - 2))),
            SameSizeBlock(width, spectral),
            SameSizeBlock(width, spectral),
        )
        self.linear = glorot(nn.Linear(width, 1), 1.0, spectral)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images if self.levels == "symmetric" else (images + 1) / 2
        logits: torch.Tensor = self.linear(relu(self.layers(pixels)).sum(dim=(2, 3)))
        return logits.flatten()


generator, discriminator = Generator, Discriminator
