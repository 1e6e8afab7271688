"""SNGAN's residual networks (Miyato et al., arXiv 1802.05957, appendix B), at 28, 32, 48, 64, 128, … pixels.

G: a linear layer to the smallest map, doubling blocks, BatchNorm, ReLU, a convolution, tanh. D: halving blocks down to
the smallest map, one block at that size, ReLU, a sum over places, a linear layer. Self-attention (arXiv 1805.08318) is
an option of both. If class-conditional, G has conditional BatchNorm and D adds a projection.

At 32 pixels the paper's D halves twice and has two blocks at 8x8, all of 128 channels. Here D halves at every block, as
the paper's does at larger sizes.

Channels per map size are those of `dcgan.py`'s G (256 at 4x4, 128, 64 for width 64 and 32 pixels) and width/2 at full
size; D mirrors G. The paper's 256 and 128 at every size would need forty times v1's FLOPs. Here a step on one image
needs 3.3 times v1's FLOPs and 2.6 times its time at 32 pixels, 3.0 and 2.4 times at 64 (width 64; torch's
FlopCounterMode; one CPU thread), with about as many parameters: 592,865 in D and 1,154,947 in G at 32 pixels, latents
of 128.

Shapes: N images, C channels, H = W = image size, d latent size; labels are (N,) int64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from ganealogy.errors import GanealogyError
from ganealogy.networks.layers.attention import SelfAttention
from ganealogy.networks.layers.conditioning import Projection, apply_layer, batch_norm
from ganealogy.networks.layers.sizes import ladder
from ganealogy.networks.layers.spectral import spectral_norm

Wrap = Callable[[nn.Module], nn.Module]
Side = Annotated[int, Ge(1)]


def identity(layer: nn.Module) -> nn.Module:
    return layer


def convolution(c_in: int, c_out: int, kernel: int, gain: float, wrap: Wrap = identity) -> nn.Module:
    """Return a convolution that preserves the size, with Glorot uniform weights and zero biases as the authors'."""
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # a Conv2d's bias is optional
    return wrap(layer)


def linear(c_in: int, c_out: int, wrap: Wrap = identity) -> nn.Module:
    layer = nn.Linear(c_in, c_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return wrap(layer)


class UpBlock(nn.Module):
    """G's block: BatchNorm, ReLU, doubling, 3x3, BatchNorm, ReLU, 3x3; the shortcut is a doubled 1x1."""

    def __init__(self, c_in: int, c_out: int, classes: int, wrap: Wrap) -> None:
        super().__init__()
        self.norm1, self.norm2 = batch_norm(c_in, classes), batch_norm(c_out, classes)
        self.conv1 = convolution(c_in, c_out, 3, sqrt(2), wrap)
        self.conv2 = convolution(c_out, c_out, 3, sqrt(2), wrap)
        self.shortcut = convolution(c_in, c_out, 1, 1.0, wrap)

    def forward(self, features: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """(N, c_in, H, W) → (N, c_out, 2H, 2W)."""
        residual = self.conv1(interpolate(relu(apply_layer(self.norm1, features, labels)), scale_factor=2))
        residual = self.conv2(relu(apply_layer(self.norm2, residual, labels)))
        # Repeating pixels commutes with a 1x1 convolution; this order needs a quarter of the FLOPs.
        shortcut = interpolate(self.shortcut(features), scale_factor=2)
        return residual + shortcut


class DownBlock(nn.Module):
    """D's block: ReLU (unless `first`), 3x3, ReLU, 3x3, average pooling; the shortcut is a pooled 1x1."""

    def __init__(self, c_in: int, c_out: int, wrap: Wrap, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = convolution(c_in, c_out, 3, sqrt(2), wrap)
        self.conv2 = convolution(c_out, c_out, 3, sqrt(2), wrap)
        self.shortcut = convolution(c_in, c_out, 1, 1.0, wrap)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) → (N, c_out, H/2, W/2)."""
        residual = self.conv1(features if self.first else relu(features))
        residual = self.conv2(relu(residual))
        # Pooling commutes with a 1x1 convolution too.
        return avg_pool2d(residual, 2) + self.shortcut(avg_pool2d(features, 2))


class SameSizeBlock(nn.Module):
    """D's last block: ReLU, 3x3, ReLU, 3x3; the shortcut is the identity."""

    def __init__(self, width: int, wrap: Wrap) -> None:
        super().__init__()
        self.conv1 = convolution(width, width, 3, sqrt(2), wrap)
        self.conv2 = convolution(width, width, 3, sqrt(2), wrap)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, width, H, W) → (N, width, H, W)."""
        return features + self.conv2(relu(self.conv1(relu(features))))


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
        attention: Side | None = None,
        spectral: bool = False,
    ) -> None:
        """`attention`: side, in pixels, of the feature map with a self-attention layer.

        `spectral`: spectral norm on every convolution and the linear layer, as in SAGAN; BatchNorm stays.
        """
        super().__init__()
        self.classes, wrap = classes, spectral_norm if spectral else identity
        sides, widths = (values[::-1] for values in _maps(image_size, width))
        _check_attention(attention, sides[1:])
        self.linear = nn.Sequential(
            linear(latent_size, widths[0] * sides[0] ** 2, wrap), nn.Unflatten(1, (-1, *sides[:1] * 2))
        )
        self.blocks = nn.ModuleList()
        for c_in, c_out, side in zip(widths, widths[1:], sides[1:], strict=False):
            self.blocks.append(UpBlock(c_in, c_out, classes, wrap))
            if side == attention:
                self.blocks.append(SelfAttention(c_out, wrap))
        self.norm = batch_norm(widths[-1], classes)
        self.to_image = convolution(widths[-1], channels, 3, 1.0, wrap)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        features = self.linear(latents)
        for block in self.blocks:
            features = block(features, labels) if isinstance(block, UpBlock) else block(features)
        return torch.tanh(self.to_image(relu(apply_layer(self.norm, features, labels))))


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
        attention: Side | None = None,
    ) -> None:
        """`norm`: spectral norm on every convolution and the linear layer, or none; `attention` as in G."""
        super().__init__()
        self.classes, wrap = classes, spectral_norm if norm == "spectral" else identity
        sides, widths = _maps(image_size, width)
        _check_attention(attention, sides[1:])
        layers: list[nn.Module] = []
        for index, (c_in, c_out, side) in enumerate(zip([channels, *widths], widths, sides[1:], strict=False)):
            layers.append(DownBlock(c_in, c_out, wrap, first=index == 0))
            if side == attention:
                layers.append(SelfAttention(c_out, wrap))
        last = widths[-2]
        self.layers = nn.Sequential(*layers, SameSizeBlock(last, wrap))
        self.linear = linear(last, 1, wrap)
        if classes:
            self.projection = Projection(last, classes, norm == "spectral")

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        features = relu(self.layers(images)).sum(dim=(2, 3))  # (N, last)
        logits = self.linear(features).flatten()
        return logits + self.projection(features, labels) if self.classes else logits


def _maps(image_size: int, width: int) -> tuple[list[int], list[int]]:
    """Return sides and channels of G's maps, finest first: ([32, 16, 8, 4], [32, 64, 128, 256]) at width 64."""
    smallest, halvings = ladder(image_size, "sngan")
    return (
        [smallest * 2**power for power in range(halvings, -1, -1)],
        [width // 2 * 2**power for power in range(halvings + 1)],
    )


def _check_attention(attention: int | None, sides: list[int]) -> None:
    if attention is not None and attention not in sides:
        raise GanealogyError(
            f"sngan: no feature map for attention has a side of {attention} at this dataset.image_size; "
            f"there are {', '.join(map(str, sorted(sides)))}"
        )


generator, discriminator = Generator, Discriminator
