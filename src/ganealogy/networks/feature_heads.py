"""A discriminator with five judges: one sees pixels, four see feature maps of a frozen, trained network.

The judge of pixels is `dcgan`'s discriminator with spectral norm. The others are heads on four maps of
EfficientNet-Lite0, as in Vision-aided GAN (Kumari et al., arXiv 2112.09130); the maps are mixed from deep to shallow by
fixed random 1x1 convolutions, as in Projected GAN (Sauer et al., arXiv 2111.01007, section 3.2). Two differences: the
network sees 32x32 pixels, which a CPU can pay, and each map is normalised by one mean and one standard deviation of
some training pictures (`calibrate`).

Frozen weights and random convolutions are buffers that no checkpoint holds; this source, with the sha256 of the
weights, is in the fingerprint. A head judges 16 places, so each judge has 16 columns of the logits, and all weigh the
same in a loss.

Shapes: N images, C channels, H = W = image size.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2, sqrt
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, interpolate

from ganealogy.networks import dcgan
from ganealogy.networks.layers.conditioning import refuse_classes
from ganealogy.networks.layers.effnet_lite0 import effnet_lite0
from ganealogy.networks.layers.spectral import spectral_norm

FEATURES_OF = "effnet_lite0"
SIDE = 32
"""Side of the images that the frozen network sees."""
TAPS = {0: 16, 2: 24, 4: 40, 10: 112}
"""Blocks whose output a head sees, and its channels; at 32x32 the maps have sides of 16, 8, 4 and 2."""
MIXED = (24, 32, 64, 128)
"""Channels of the mixed maps."""
PLACES = 16
SLOPE = 0.2


class Discriminator(nn.Module):
    """D: images (N, C, H, W) → logits (N, 80): 16 of pixels, all equal, and 16 places of each head."""

    frozen: FrozenMaps

    def __init__(self, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        refuse_classes("feature_heads", classes)
        self.pixels = dcgan.Discriminator(channels, image_size, width, norm="spectral")
        self.frozen = FrozenMaps()
        self.heads = nn.ModuleList(head(mixed, side, width) for mixed, side in zip(MIXED, (16, 8, 4, 2), strict=True))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        judged = [self.pixels(images)[:, None]]
        judged += [head(features).flatten(1) for head, features in zip(self.heads, self.frozen(images), strict=True)]
        return torch.cat([logits.repeat_interleave(PLACES // logits.shape[1], dim=1) for logits in judged], dim=1)

    def calibrate(self, images: torch.Tensor) -> None:
        """Set the maps' means and standard deviations to those of these training pictures (N, C, H, W)."""
        self.frozen.calibrate(images)


class FrozenMaps(nn.Module):
    """Images (N, C, H, W) in [-1, 1] → four mixed maps, of `MIXED` channels and sides of 16, 8, 4 and 2.

    It has no parameters, and only the calibration is in its state dict.
    """

    calibration: torch.Tensor
    """(4, 2): mean and standard deviation of each map."""

    def __init__(self) -> None:
        super().__init__()
        network: Any = effnet_lite0()
        self.stem, self.activation = network._conv_stem, network._swish
        self.blocks = nn.ModuleList(list(network._blocks)[: max(TAPS) + 1])
        for module in list(self.modules()):
            freeze(module)
        self.register_buffer("calibration", torch.tensor([[0.0, 1.0]] * len(TAPS)))
        draws = torch.Generator("cpu").manual_seed(0)
        for index, (c_in, c_out) in enumerate(zip(TAPS.values(), MIXED, strict=True)):
            self.register_buffer(f"lift{index}", fixed(c_in, c_out, draws), persistent=False)
        for index, (c_out, c_in) in enumerate(pairwise(MIXED)):
            self.register_buffer(f"mix{index}", fixed(c_in, c_out, draws), persistent=False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        mixed: list[torch.Tensor] = []
        maps = self.maps(images)
        for index in reversed(range(len(maps))):
            mean, deviation = self.calibration[index]
            lifted = conv2d((maps[index] - mean) / deviation, getattr(self, f"lift{index}"))
            if mixed:
                deeper = interpolate(conv2d(mixed[0], getattr(self, f"mix{index}")), scale_factor=2.0)
                lifted = (lifted + deeper) * sqrt(0.5)
            mixed.insert(0, lifted)
        return mixed

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the frozen network's maps, with the channels of `TAPS`."""
        if images.shape[-1] != SIDE:
            images = interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=images.shape[-1] > SIDE)
        levels = images.expand(-1, 3, -1, -1) * (127.5 / 128) + 0.5 / 128  # (x - 127) / 128, x in 0..255
        features, maps = self.activation(self.stem(levels)), []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in TAPS:
                maps.append(features)
        return maps

    @torch.no_grad()
    def calibrate(self, images: torch.Tensor) -> None:
        """Set the calibration to the mean and the standard deviation of each map of these images."""
        numbers = [torch.stack([features.mean(), features.std()]) for features in self.maps(images)]
        self.calibration.copy_(torch.stack(numbers))


def head(c_in: int, side: int, width: int) -> nn.Sequential:
    """Return the judge of a map: → (N, 1, 4, 4), or (N, 1, 2, 2) of a map with a side of 2."""
    same = (3, 1, 1) if side >= 4 else (1, 1, 0)  # kernel, stride, padding
    layers: list[nn.Module] = []
    for shape in [(4, 2, 1)] * int(log2(side / 4)) if side > 4 else [same]:
        layers += [spectral_norm(nn.Conv2d(c_in, width, *shape)), nn.LeakyReLU(SLOPE, inplace=True)]
        c_in = width
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, *same)))


def freeze(module: nn.Module) -> None:
    """Turn the module's own parameters into buffers that are not in its state dict."""
    for name, parameter in list(module._parameters.items()):
        if parameter is not None:
            del module._parameters[name]
            module.register_buffer(name, parameter.detach(), persistent=False)


def fixed(c_in: int, c_out: int, draws: torch.Generator) -> torch.Tensor:
    """Return the weights of a random 1x1 convolution that keeps the variance: N(0, 1 / c_in)."""
    return torch.randn(c_out, c_in, 1, 1, generator=draws, device="cpu") / sqrt(c_in)


discriminator = Discriminator
