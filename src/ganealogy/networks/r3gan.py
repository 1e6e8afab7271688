"""R3GAN's networks (Huang et al., arXiv 2501.05441): a ResNeXt without any normalisation, at any power of two from 16.

A stage is two residual blocks and a change of size; G begins with a learned 4x4 basis that the latent weighs, D ends
with a depthwise 4x4 convolution and a linear layer. Nothing squashes G's output: images leave it as they are, and
whoever turns them into pixels clips. Blocks begin as the identity.

The paper's networks have 768 channels at every stage of 32 pixels, and thinner fine stages from 64 up. Here the finest
has width/2, and each coarser one twice as many, rounded up to a multiple of 8 (32, 64, 128, 256, … at width 64), which
puts them beside the DCGANs of the family: parameters of D / G are
1,024,096 / 1,040,224 at 32 pixels and 3,555,680 / 3,587,936 at 64.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from ganealogy.networks.layers.conditioning import refuse
from ganealogy.networks.layers.resampling import double, halve
from ganealogy.networks.layers.sizes import halvings

SLOPE = 0.2
GAIN = sqrt(2 / (1 + SLOPE**2))  # keeps the variance through LeakyReLU
EXPANSION = 2
GROUP_WIDTH = 16
BLOCKS_A_STAGE = 2


def scaled(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Conv2d | nn.Linear:
    """He's initialisation (MSRA, arXiv 1502.01852): N(0, gain / sqrt(fan in)), zero biases."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + 1x1(lrelu(grouped 3x3(lrelu(1x1(x))))), wider inside; at first the last 1x1 is zero and the block identity.

    `blocks`: how many the network has; their number tempers the first two layers' weights, as in Fixup
    (arXiv 1901.09321): three layers a block give the exponent -1/4.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        inner, gain = channels * EXPANSION, GAIN * blocks**-0.25
        self.widen = scaled(nn.Conv2d(channels, inner, 1), gain)
        self.mix = scaled(nn.Conv2d(inner, inner, 3, padding=1, groups=inner // GROUP_WIDTH), gain)
        self.narrow = scaled(nn.Conv2d(inner, channels, 1, bias=False), 0.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → the same."""
        residual = leaky_relu(self.widen(features), SLOPE)
        residual = leaky_relu(self.mix(residual), SLOPE)
        total: torch.Tensor = features + self.narrow(residual)
        return total


class Up(nn.Module):
    """1x1, then doubling."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.linear = _transition(inner, outer)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return double(self.linear(features))


class Down(nn.Module):
    """Halving, then 1x1."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.linear = _transition(inner, outer)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(halve(features))
        return result


def _transition(inner: int, outer: int) -> nn.Module:
    return nn.Identity() if inner == outer else scaled(nn.Conv2d(inner, outer, 1, bias=False), 1.0)


class Basis(nn.Module):
    """z (N, d) → (N, C, 4, 4): one learned 4x4 picture a channel, each weighed by a linear function of z."""

    def __init__(self, latent_size: int, channels: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, 4, 4))
        self.linear = scaled(nn.Linear(latent_size, channels, bias=False), 1.0)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.linear(latents)
        return self.basis * weights[:, :, None, None]


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W), unbounded."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int) -> None:
        super().__init__()
        self.classes = 0
        widths = _widths(image_size, width)[::-1]
        blocks = BLOCKS_A_STAGE * len(widths)
        layers: list[nn.Module] = []
        for index, (inner, outer) in enumerate(zip([latent_size, *widths], widths, strict=False)):
            layers.append(Basis(inner, outer) if index == 0 else Up(inner, outer))
            layers.extend(Block(outer, blocks) for _ in range(BLOCKS_A_STAGE))
        self.layers = nn.Sequential(*layers, scaled(nn.Conv2d(widths[-1], channels, 1, bias=False), 1.0))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.layers(latents)
        return images


class Weighing(nn.Conv2d):
    """A depthwise convolution whose kernel is as large as the map: a weighted sum of each channel.

    As a sum it takes a third of the time on a CPU, differentiated twice, and no depthwise kernel of a GPU.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, 4, 4) → (N, C, 1, 1)."""
        return (features * self.weight[:, 0]).sum((2, 3), keepdim=True)


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(self, channels: int, image_size: int, width: int) -> None:
        super().__init__()
        widths = _widths(image_size, width)
        blocks = BLOCKS_A_STAGE * len(widths)
        last = widths[-1]
        layers: list[nn.Module] = [scaled(nn.Conv2d(channels, widths[0], 1, bias=False), 1.0)]
        for index, inner in enumerate(widths):
            layers.extend(Block(inner, blocks) for _ in range(BLOCKS_A_STAGE))
            if index + 1 < len(widths):
                layers.append(Down(inner, widths[index + 1]))
        layers.append(scaled(Weighing(last, last, 4, groups=last, bias=False), 1.0))  # 4x4 → 1x1
        self.layers = nn.Sequential(*layers)
        self.linear = scaled(nn.Linear(last, 1, bias=False), 1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.layers(images).flatten(1)).flatten()
        return logits


def _widths(image_size: int, width: int) -> list[int]:
    """Channels of the stages from the image down to 4x4; multiples of 8, so that groups of 16 fit inside a block."""
    stages = halvings(image_size, "r3gan") + 1
    return [max(8, -(-(width * 2**stage) // 16) * 8) for stage in range(stages)]


def generator(latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> nn.Module:
    refuse("r3gan", classes)
    return Generator(latent_size, channels, image_size, width)


def discriminator(channels: int, image_size: int, width: int, classes: int = 0) -> nn.Module:
    refuse("r3gan", classes)
    return Discriminator(channels, image_size, width)
