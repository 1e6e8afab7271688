"""R3GAN's networks (Huang et al., arXiv 2501.05441): a ResNeXt without normalisation, at 4 to 7 doubled at least twice.

A stage is two residual blocks and a change of size. G begins with a learned 4x4 basis weighted by the latent; D ends
with a depthwise 4x4 convolution and a linear layer. G's output is unbounded and clipped only when converted to pixels.
Blocks are initialised as the identity.

The paper's networks have 768 channels in every stage at 32 pixels, and fewer in the fine stages from 64 pixels up.
Here the finest stage has width/2 and each coarser one twice as many, rounded up to a multiple of 8 (32, 64, 128, 256, …
at width 64), for a size similar to the other architectures': parameters of D / G at width 64 are 1,024,096 / 1,040,224
at 32 pixels and 3,555,680 / 3,587,936 at 64.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from ganealogy.networks.layers.conditioning import refuse_classes
from ganealogy.networks.layers.resampling import double, halve
from ganealogy.networks.layers.sizes import ladder

SLOPE = 0.2
GAIN = sqrt(2 / (1 + SLOPE**2))  # preserves the variance through LeakyReLU
EXPANSION = 2
GROUP_WIDTH = 16
BLOCKS_PER_STAGE = 2


def he_normal(layer: nn.Conv2d | nn.Linear, gain: float) -> nn.Conv2d | nn.Linear:
    """Initialise with N(0, std = gain / sqrt(fan in)) and zero biases (He et al., arXiv 1502.01852)."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + 1x1(lrelu(grouped 3x3(lrelu(1x1(x))))), wider inside; the last 1x1 is initialised to zero.

    `blocks`: number of blocks in the network. It scales the initial weights of the first two layers by blocks^(-1/4),
    the exponent of Fixup (arXiv 1901.09321) for three layers per block.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        inner, gain = channels * EXPANSION, GAIN * blocks**-0.25
        self.widen = he_normal(nn.Conv2d(channels, inner, 1), gain)
        self.mix = he_normal(nn.Conv2d(inner, inner, 3, padding=1, groups=inner // GROUP_WIDTH), gain)
        self.narrow = he_normal(nn.Conv2d(inner, channels, 1, bias=False), 0.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        residual = leaky_relu(self.widen(features), SLOPE)
        residual = leaky_relu(self.mix(residual), SLOPE)
        return features + self.narrow(residual)


class Up(nn.Module):
    """1x1 convolution, then doubling."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = _transition(c_in, c_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return double(self.linear(features))


class Down(nn.Module):
    """Halving, then 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = _transition(c_in, c_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(halve(features))


def _transition(c_in: int, c_out: int) -> nn.Module:
    return nn.Identity() if c_in == c_out else he_normal(nn.Conv2d(c_in, c_out, 1, bias=False), 1.0)


class Basis(nn.Module):
    """z (N, d) → (N, C, s, s), s the side: a learned map per channel, weighted by a linear function of z."""

    def __init__(self, latent_size: int, channels: int, side: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, side, side))
        self.linear = he_normal(nn.Linear(latent_size, channels, bias=False), 1.0)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.linear(latents)
        return self.basis * weights[:, :, None, None]


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W), unbounded."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = refuse_classes("r3gan", classes)
        side, widths = _maps(image_size, width)
        widths = widths[::-1]
        blocks = BLOCKS_PER_STAGE * len(widths)
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(zip([latent_size, *widths], widths, strict=False)):
            layers.append(Basis(c_in, c_out, side) if index == 0 else Up(c_in, c_out))
            layers.extend(Block(c_out, blocks) for _ in range(BLOCKS_PER_STAGE))
        self.layers = nn.Sequential(*layers, he_normal(nn.Conv2d(widths[-1], channels, 1, bias=False), 1.0))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.layers(latents)


class FullSizeDepthwiseConv(nn.Conv2d):
    """Depthwise convolution with a kernel of the map's size, computed as a weighted sum per channel.

    On a CPU the sum takes a third of the time, differentiated twice; on a GPU it avoids slow depthwise kernels.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, s, s) → (N, C, 1, 1)."""
        return (features * self.weight[:, 0]).sum((2, 3), keepdim=True)


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(self, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        refuse_classes("r3gan", classes)
        side, widths = _maps(image_size, width)
        blocks = BLOCKS_PER_STAGE * len(widths)
        last = widths[-1]
        layers: list[nn.Module] = [he_normal(nn.Conv2d(channels, widths[0], 1, bias=False), 1.0)]
        for index, c_in in enumerate(widths):
            layers.extend(Block(c_in, blocks) for _ in range(BLOCKS_PER_STAGE))
            if index + 1 < len(widths):
                layers.append(Down(c_in, widths[index + 1]))
        layers.append(he_normal(FullSizeDepthwiseConv(last, last, side, groups=last, bias=False), 1.0))
        self.layers = nn.Sequential(*layers)
        self.linear = he_normal(nn.Linear(last, 1, bias=False), 1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.layers(images).flatten(1)).flatten()


def _maps(image_size: int, width: int) -> tuple[int, list[int]]:
    """Return the side of the smallest map, and the channels per stage from the finest down to it.

    Channels are multiples of 8, so that a block has groups of 16.
    """
    side, halvings = ladder(image_size, "r3gan")
    return side, [max(8, -(-(width * 2**stage) // 16) * 8) for stage in range(halvings + 1)]


generator, discriminator = Generator, Discriminator
