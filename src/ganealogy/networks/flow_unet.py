"""A generator that integrates a velocity from noise to pictures: for flow matching (Lipman et al., arXiv 2210.02747).

The velocity is a small U-Net of residual blocks as in DDPM (Ho et al., arXiv 2006.11239): GroupNorm, SiLU, 3x3
convolutions, and the time added to each block. Three levels of width, 2 x width and 4 x width channels; no attention.
Any image size that is a multiple of 4, from 16 up.

A picture costs as many passes through the U-Net as the sampler takes: its `steps`, twice that with the midpoint rule.

Shapes: N images, C channels, H = W = image size, t (N,) in [0, 1]: 0 is noise, 1 is data.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from ganealogy.errors import GanealogyError
from ganealogy.networks.layers.conditioning import refuse_classes

GROUPS = 8
LEVELS = (1, 2, 4)
"""Channels per unit of width, from the finest map down."""
LONGEST_PERIOD = 10_000


class Generator(nn.Module):
    """G: z (N, C·H·W) → images (N, C, H, W), not bounded."""

    def __init__(
        self,
        latent_size: int,
        channels: int,
        image_size: int,
        width: int,
        classes: int = 0,
        *,
        steps: Annotated[int, Ge(1), Le(1000)] = 8,
        solver: Literal["euler", "midpoint"] = "midpoint",
    ) -> None:
        """`steps`: of the sampler; a training does not depend on them. `solver`: one or two passes per step."""
        super().__init__()
        self.classes = refuse_classes("flow_unet", classes)
        if image_size < 16 or image_size % 4:
            raise GanealogyError(f"flow_unet: dataset.image_size {image_size} is not a multiple of 4 from 16 up")
        if latent_size != channels * image_size**2:
            raise GanealogyError(f"flow_unet: latent.size {latent_size}: noise has an image's shape: set it to image")
        self.shape, self.steps, self.solver = (channels, image_size, image_size), steps, solver
        widths = [width * factor for factor in LEVELS]
        self.time_size = 2 * width
        self.time = nn.Sequential(nn.Linear(2 * width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            Block(c_in, c_out, 4 * width) for c_in, c_out in zip([width, *widths], widths, strict=False)
        )
        self.middle = Block(widths[-1], widths[-1], 4 * width)
        above = [widths[-1], *widths[::-1]]
        self.up = nn.ModuleList(
            Block(c_in + c_skip, c_skip, 4 * width) for c_in, c_skip in zip(above, widths[::-1], strict=False)
        )
        self.last = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        x = latents.view(-1, *self.shape)
        length = 1 / self.steps
        for step in range(self.steps):
            time = torch.full_like(x[:, 0, 0, 0], step * length)
            velocity = self.velocity(x, time)
            if self.solver == "midpoint":
                velocity = self.velocity(x + length / 2 * velocity, time + length / 2)
            x = x + length * velocity
        return x

    def velocity(self, images: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) at times (N,) → the predicted change per unit of time, (N, C, H, W)."""
        embedded = self.time(sinusoids(time, self.time_size))
        x, skips = self.first(images), []
        for level, block in enumerate(self.down):
            x = block(avg_pool2d(x, 2) if level else x, embedded)
            skips.append(x)
        x = self.middle(x, embedded)
        for level, block in enumerate(self.up):
            x = interpolate(x, scale_factor=2.0) if level else x
            x = block(torch.cat([x, skips.pop()], dim=1), embedded)
        return self.last(x)


class Block(nn.Module):
    """(N, C_in, H, W), embedded time (N, T) → (N, C_out, H, W): a residual block, at first its shortcut alone."""

    def __init__(self, c_in: int, c_out: int, time_size: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(norm(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.time = nn.Linear(time_size, c_out)
        self.outer = nn.Sequential(norm(c_out), nn.SiLU(), nn.Conv2d(c_out, c_out, 3, padding=1))
        nn.init.zeros_(self.outer[-1].weight)  # type: ignore[arg-type]
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        inner = self.inner(x) + self.time(embedded)[:, :, None, None]
        return self.shortcut(x) + self.outer(inner)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def sinusoids(time: torch.Tensor, size: int) -> torch.Tensor:
    """(N,) in [0, 1] → (N, size): sines and cosines of 1000 t, with periods from 2π to 2π·10,000."""
    exponents = torch.arange(size // 2, device=time.device, dtype=time.dtype) / (size // 2)
    angles = 1000 * time[:, None] * LONGEST_PERIOD**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)


generator = Generator
