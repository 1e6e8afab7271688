"""The DCGAN (Radford et al., arXiv 1511.06434) of the Jovian tutorial "06b-anime-dcgan".

Image sides are 4, 5, 6 or 7 doubled at least twice (16, 20, 24, 28, 32, …). Convolutions have 4x4 kernels; the one at
the smallest map has that map's side, which is 4 for powers of two. Depth follows the image size, one halving per layer.
With width 64, 3 channels and latents of 128, parameters of D / G are 663,424 / 1,183,616 at 32 pixels,
2,765,696 / 3,806,080 at 64 and 11,164,544 / 13,245,312 at 128.

If class-conditional, G has conditional BatchNorm and D adds a projection (`layers/conditioning.py`).

Shapes: N images, C channels, H = W = image size, d latent size; labels are (N,) int64.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import nn

from ganealogy.networks.layers.batch_stddev import BatchStddev
from ganealogy.networks.layers.conditioning import Projection, apply_layer, batch_norm
from ganealogy.networks.layers.initialisation import Init, initialise
from ganealogy.networks.layers.nearest import NearestConv2d
from ganealogy.networks.layers.sizes import ladder
from ganealogy.networks.layers.spectral import spectral_norm

SLOPE = 0.2


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
        activation: Literal["relu", "leaky_relu"] = "relu",
        doubling: Literal["transposed", "nearest"] = "transposed",
        init: Init = "default",
    ) -> None:
        """`activation`: of the hidden layers; the output has tanh. `init`: see `layers/initialisation.py`.

        `doubling`: transposed 4x4 convolutions, or nearest doubling with 3x3 convolutions (`layers/nearest.py`).
        """
        super().__init__()
        self.classes = classes
        side, doublings = ladder(image_size, "dcgan")
        widths = [width * 2**power for power in range(doublings - 1, -1, -1)]
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(zip([latent_size, *widths], [*widths, channels], strict=True)):
            kernel, stride, padding = (side, 1, 0) if index == 0 else (4, 2, 1)  # 1x1 → smallest map, then doubling
            if doubling == "nearest" and index > 0:
                layers.append(initialise(NearestConv2d(c_in, c_out), init))
            else:
                layers.append(initialise(nn.ConvTranspose2d(c_in, c_out, kernel, stride, padding, bias=False), init))
            if index < len(widths):
                layers.append(batch_norm(c_out, classes))
                layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        images = latents[:, :, None, None]
        for layer in self.layers:
            images = apply_layer(layer, images, labels)
        return images


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N,), without sigmoid."""

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int,
        classes: int = 0,
        *,
        norm: Literal["batch", "spectral", "none"] = "batch",
        slope: Annotated[float, Ge(0), Lt(1)] = SLOPE,
        batch_stddev: bool = False,
        init: Init = "default",
    ) -> None:
        """`norm`: BatchNorm after hidden convolutions, spectral norm on all convolutions (arXiv 1802.05957), or none.

        `slope`: of LeakyReLU. `batch_stddev`: minibatch standard deviation before the last one (arXiv 1710.10196).
        """
        super().__init__()
        self.classes = classes
        side, halvings = ladder(image_size, "dcgan")
        widths = [width * 2**power for power in range(halvings)]
        layers: list[nn.Module] = []
        bias = norm != "batch"  # BatchNorm has a bias

        def convolution(c_in: int, c_out: int, kernel: int, stride: int, padding: int) -> nn.Module:
            plain = initialise(nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=bias), init)
            return spectral_norm(plain) if norm == "spectral" else plain

        for c_in, c_out in zip([channels, *widths], widths, strict=False):
            layers.append(convolution(c_in, c_out, 4, 2, 1))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(c_out))
            layers.append(nn.LeakyReLU(slope, inplace=True))
        if batch_stddev:
            layers.append(BatchStddev())
        layers.append(convolution(widths[-1] + batch_stddev, 1, side, 1, 0))  # smallest map → 1x1
        self.layers = nn.Sequential(*layers)
        if classes:
            self.projection = Projection(widths[-1] + batch_stddev, classes, norm == "spectral")

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self._logits(self.layers[:-1](images), labels)

    def with_features(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, 1 + F): the logit, and the values of the smallest map."""
        features = self.layers[:-1](images)
        return torch.cat([self._logits(features, labels)[:, None], features.flatten(1)], dim=1)

    def _logits(self, features: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        logits = self.layers[-1](features).flatten()
        return logits + self.projection(features.mean(dim=(2, 3)), labels) if self.classes else logits


generator, discriminator = Generator, Discriminator
