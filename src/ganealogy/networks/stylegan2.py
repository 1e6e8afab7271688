"""StyleGAN2's networks in small (Karras et al., arXiv 1912.04958, configuration F), at 4 to 7 doubled at least twice.

G: a mapping network turns z into a style w; modulated convolutions, whose input channels are scaled by w and whose
output is demodulated to unit variance, lead from a learned 4x4 map to the image; the output is the sum of an image per
size (skips). D: residual blocks, minibatch standard deviation, two linear layers. All layers have equalised learning
rates: weights are N(0, 1), and scaled at each use.

Other than in the paper and the authors' code:

- The finest map has width/2 channels and each coarser one twice as many, up to 8·width; theirs are 512 up to 32 or
  64 pixels. z and w have the latent's size, theirs 512.
- Style mixing is per image, not per batch. Its second latent is normal.
- Minibatch standard deviation is over the whole batch, not groups of four.
- In evaluation mode noise is a fixed map (`layers/noise.py`), as in the authors' pictures; their FID has fresh noise.
- No truncation, no 16-bit floats, no clamping.

With lazy R1 and path length a step needs 3.4 times v1's FLOPs at 32 pixels and 2.9 times at 64 (width 64). Parameters
of D / G are 2,265,889 / 1,490,419 at 32 pixels with latents of 128.

Shapes: N images, C channels, H = W = image size, d latent size, L layers with a style of their own.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear

from ganealogy.networks.layers.batch_stddev import BatchStddev
from ganealogy.networks.layers.conditioning import refuse_classes
from ganealogy.networks.layers.noise import Noise
from ganealogy.networks.layers.resampling import double, halve, smooth
from ganealogy.networks.layers.sizes import ladder

SLOPE = 0.2
MAPPING_RATE = 0.01
"""Learning rate of the mapping network, relative to the others'."""


def activate(features: torch.Tensor) -> torch.Tensor:
    """Return LeakyReLU times sqrt(2), which about preserves the variance."""
    return leaky_relu(features, SLOPE) * sqrt(2)


class Linear(nn.Module):
    """Linear layer with equalised learning rate. `rate`: relative to the optimizer's; `bias`: initial value."""

    def __init__(self, c_in: int, c_out: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / rate)
        self.bias = nn.Parameter(torch.full((c_out,), bias / rate))
        self.gain, self.rate = rate / sqrt(c_in), rate

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, c_in) → (N, c_out)."""
        return linear(features, self.weight * self.gain, self.bias * self.rate)


class Convolution(nn.Module):
    """Convolution with equalised learning rate. `down`: smooth, then use a stride of 2."""

    def __init__(self, c_in: int, c_out: int, kernel: int, bias: bool = True, down: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.gain, self.down = 1 / sqrt(c_in * kernel**2), down

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) → (N, c_out, H, W), or half of the sides."""
        weight = self.weight * self.gain
        if not self.down:
            return conv2d(features, weight, self.bias, padding=weight.shape[-1] // 2)
        if weight.shape[-1] == 1:
            return conv2d(halve(features), weight, self.bias)
        return conv2d(smooth(features, padding=2), weight, self.bias, stride=2)


class Modulated(nn.Module):
    """Modulated convolution (section 2.2), by scales of its input and its output channels.

    That equals a convolution with weights per image: w_oik s_i / sqrt(Σ_ik (w_oik s_i)² + 1e-8).
    """

    def __init__(
        self, style_size: int, c_in: int, c_out: int, kernel: int, demodulate: bool = True, up: bool = False
    ) -> None:
        """`up`: stride 1/2, then smooth. Without `demodulate`, the weights have the gain 1 / sqrt(fan in)."""
        super().__init__()
        self.style = Linear(style_size, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.gain = 1.0 if demodulate else 1 / sqrt(c_in * kernel**2)
        self.demodulate, self.up = demodulate, up

    def forward(self, features: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W), styles (N, d) → (N, c_out, H, W), or twice the sides."""
        scales = self.style(w)  # (N, c_in)
        features = features * (scales * self.gain)[:, :, None, None]
        if self.up:
            features = conv_transpose2d(features, self.weight.transpose(0, 1), stride=2)  # (N, c_out, 2H + 1, 2W + 1)
            features = smooth(features, padding=1) * 4  # three of four inputs of the filter are zeros
        else:
            features = conv2d(features, self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            squares = scales.square() @ self.weight.square().sum((2, 3)).t()  # (N, c_out)
            features = features * (squares + 1e-8).rsqrt()[:, :, None, None]
        return features


class StyledLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, activation."""

    def __init__(self, style_size: int, c_in: int, c_out: int, side: int, up: bool) -> None:
        """`side`: of the output, in pixels."""
        super().__init__()
        self.convolution = Modulated(style_size, c_in, c_out, 3, up=up)
        self.noise = Noise(side)
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, features: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return activate(self.noise(self.convolution(features, w)) + self.bias[:, None, None])


class ToImage(nn.Module):
    """Modulated 1x1 convolution to an image, not demodulated, and bias."""

    def __init__(self, style_size: int, c_in: int, channels: int) -> None:
        super().__init__()
        self.convolution = Modulated(style_size, c_in, channels, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return self.convolution(features, w) + self.bias[:, None, None]


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W), unbounded."""

    def __init__(
        self,
        latent_size: int,
        channels: int,
        image_size: int,
        width: int,
        classes: int = 0,
        *,
        mapping_layers: Annotated[int, Ge(1), Le(16)] = 8,
        mixing: Annotated[float, Ge(0), Le(1)] = 0.9,
    ) -> None:
        """`mapping_layers`: of the mapping network; `mixing`: share of images with two styles, in training mode."""
        super().__init__()
        self.classes, self.mixing = refuse_classes("stylegan2", classes), mixing
        self.mapping_layers = nn.ModuleList(
            Linear(latent_size, latent_size, MAPPING_RATE) for _ in range(mapping_layers)
        )
        side, widths = _maps(image_size, width)
        widths = widths[::-1]
        self.constant = nn.Parameter(torch.randn(widths[0], side, side))
        self.layers = nn.ModuleList([StyledLayer(latent_size, widths[0], widths[0], side, up=False)])
        self.to_images = nn.ModuleList([ToImage(latent_size, widths[0], channels)])
        for power, (c_in, c_out) in enumerate(pairwise(widths), start=1):
            self.layers.append(StyledLayer(latent_size, c_in, c_out, side * 2**power, up=True))
            self.layers.append(StyledLayer(latent_size, c_out, c_out, side * 2**power, up=False))
            self.to_images.append(ToImage(latent_size, c_out, channels))
        self.styles = len(self.layers) + 1
        """L: an image layer shares its style with the next convolution."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.synthesise(self.style(latents))

    def style(self, latents: torch.Tensor) -> torch.Tensor:
        """z (N, d) → w (N, L, d), mixed in training mode."""
        w = self.map(latents)[:, None].expand(-1, self.styles, -1)
        if not self.training or self.mixing == 0:
            return w
        other = self.map(torch.randn_like(latents))[:, None]
        cuts = torch.randint(1, self.styles, (len(latents), 1), device=latents.device)
        mixed = torch.rand(len(latents), 1, device=latents.device) < self.mixing
        swapped = mixed & (torch.arange(self.styles, device=latents.device) >= cuts)  # (N, L)
        return torch.where(swapped[:, :, None], other, w)

    def map(self, latents: torch.Tensor) -> torch.Tensor:
        """z (N, d) → w (N, d)."""
        w = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping_layers:
            w = activate(layer(w))
        return w

    def synthesise(self, w: torch.Tensor) -> torch.Tensor:
        """w (N, L, d) → images (N, C, H, W)."""
        styles = w.unbind(1)
        features = self.layers[0](self.constant[None], styles[0])  # the styles' scales bring N
        images = self.to_images[0](features, styles[1])
        for index, to_image in enumerate(self.to_images[1:], start=1):
            for layer in (2 * index - 1, 2 * index):
                features = self.layers[layer](features, styles[layer])
            images = double(images) + to_image(features, styles[2 * index + 1])
        return images


class ResidualBlock(nn.Module):
    """3x3, activation, 3x3 with halving, activation; the shortcut is a halved 1x1. The sum is divided by sqrt(2)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(c_in, c_in, 3), Convolution(c_in, c_out, 3, down=True)
        self.shortcut = Convolution(c_in, c_out, 1, bias=False, down=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) → (N, c_out, H/2, W/2)."""
        residual = activate(self.second(activate(self.first(features))))
        return (residual + self.shortcut(features)) / sqrt(2)


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,)."""

    def __init__(self, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        refuse_classes("stylegan2", classes)
        side, widths = _maps(image_size, width)
        last = widths[-1]
        self.from_image = Convolution(channels, widths[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(c_in, c_out) for c_in, c_out in pairwise(widths)), BatchStddev())
        self.convolution = Convolution(last + 1, last, 3)
        self.hidden, self.output = Linear(last * side**2, last), Linear(last, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(activate(self.from_image(images)))
        features = activate(self.convolution(features)).flatten(1)
        return self.output(activate(self.hidden(features))).flatten()


def _maps(image_size: int, width: int) -> tuple[int, list[int]]:
    """Return the side of the smallest map, and the channels of all from the finest down to it."""
    side, halvings = ladder(image_size, "stylegan2")
    return side, [min(8 * width, max(1, width // 2) * 2**power) for power in range(halvings + 1)]


generator, discriminator = Generator, Discriminator
