"""FastGAN's generator (Liu et al., arXiv 2101.04775) for small data and short trainings, at 4 to 7 doubled
at least twice.

Each block doubles the map: nearest upsampling, 3x3 convolution, BatchNorm and a gated linear unit (GLU), which halves
the channels. Every other block, the first included, has a second convolution, and noise before each BatchNorm.
Skip-layer excitation (SLE) multiplies the channels of a fine map by gates computed from a coarse one. All convolutions
are without bias and have spectral norm.

As in the authors' code, and not in the paper: spectral norm, and Swish in the excitation. Other than in their code:

- The map of side s excites that of side 16·s, as in the paper. Below 64 pixels no map is that large, and the smallest
  excites the last one.
- The finest map has width/2 channels and each coarser one twice as many, up to 16·width, which at width 64 is near the
  authors' 256-pixel network (32, 64, 128, 128, 256, 512, 1024).
- In evaluation mode noise is a fixed map (`layers/noise.py`).
- There is no second output of 128 pixels: it is for the paper's discriminator, which is not here.
- Scales of BatchNorm are initially 1, not N(1, 0.02).

With v1's discriminator a step needs 3.6 times v1's FLOPs at 32 pixels and 3.1 times at 64 (width 64). G has 2,271,588
parameters at 32 pixels with latents of 128.

Shapes: N images, C channels, H = W = image size, d latent size.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from ganealogy.networks.layers.conditioning import refuse_classes
from ganealogy.networks.layers.noise import Noise
from ganealogy.networks.layers.sizes import ladder
from ganealogy.networks.layers.spectral import spectral_norm

POOLED = 4
"""Side, in pixels, to which an excitation pools its coarse map."""
REACH = 16
"""Ratio of the sides of the two maps of an excitation."""


class Excitation(nn.Module):
    """Coarse map → gates in (0, 1) for the channels of a fine map."""

    def __init__(self, c_coarse: int, c_fine: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(c_coarse, c_fine, POOLED, bias=False)),
            nn.SiLU(),
            spectral_norm(nn.Conv2d(c_fine, c_fine, 1, bias=False)),
            nn.Sigmoid(),
        )

    def forward(self, coarse: torch.Tensor) -> torch.Tensor:
        """(N, c_coarse, s, s) → (N, c_fine, 1, 1)."""
        return self.layers(adaptive_avg_pool2d(coarse, POOLED))


class Generator(nn.Module):
    """G: z (N, d) → images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_size: int, channels: int, image_size: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = refuse_classes("fastgan", classes)
        smallest, doublings = ladder(image_size, "fastgan")
        sides = [smallest * 2**power for power in range(doublings + 1)]
        widths = [min(16 * width, max(1, width // 2) * 2**power) for power in range(doublings, -1, -1)]
        first = spectral_norm(nn.ConvTranspose2d(latent_size, 2 * widths[0], smallest, bias=False))
        self.blocks = nn.ModuleList([nn.Sequential(first, nn.BatchNorm2d(2 * widths[0]), nn.GLU(1))])
        for index, (c_in, c_out) in enumerate(pairwise(widths)):
            self.blocks.append(_block(c_in, c_out, sides[index + 1], thorough=index % 2 == 0))
        self.smallest, self.sources = smallest, _sources(sides)
        self.excitations = nn.ModuleDict(
            {
                str(fine): Excitation(widths[sides.index(coarse)], widths[sides.index(fine)])
                for fine, coarse in self.sources.items()
            }
        )
        self.to_image = spectral_norm(nn.Conv2d(widths[-1], channels, 3, padding=1, bias=False))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        features, side, maps = latents[:, :, None, None], self.smallest, dict[int, torch.Tensor]()
        for block in self.blocks:
            features = block(features)
            if side in self.sources:
                features = features * self.excitations[str(side)](maps[self.sources[side]])
            maps[side], side = features, 2 * side
        return torch.tanh(self.to_image(features))


def _block(c_in: int, c_out: int, side: int, thorough: bool) -> nn.Sequential:
    """Return a block from maps of half this side. `thorough`: with a second convolution and noise."""
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2)]
    for c_from in (c_in, c_out) if thorough else (c_in,):
        layers.append(spectral_norm(nn.Conv2d(c_from, 2 * c_out, 3, padding=1, bias=False)))
        layers.extend([Noise(side)] if thorough else [])
        layers.extend([nn.BatchNorm2d(2 * c_out), nn.GLU(1)])
    return nn.Sequential(*layers)


def _sources(sides: list[int]) -> dict[int, int]:
    """Return side of the excited map → side of the map that excites it."""
    return {REACH * side: side for side in sides if REACH * side in sides} or {sides[-1]: sides[0]}


generator = Generator
