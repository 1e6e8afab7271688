"""Differentiable image transforms with one random draw per image (DiffAugment, arXiv 2006.10738, §4).

Images are (N, C, H, W) with grey at 0. Only sums, products and gathers are used, so second derivatives exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch.nn.functional import pad

TRANSLATION = 1 / 8
"""Largest shift along each axis, as a fraction of the side."""
CUTOUT = 1 / 2
"""Edge of the square, as a fraction of the side."""


def colour(images: torch.Tensor) -> torch.Tensor:
    """Add brightness in ±0.5, scale saturation by 0 to 2 and contrast by 0.5 to 1.5; all uniform draws."""
    images = images + _uniform(images, -0.5, 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * _uniform(images, 0.0, 2.0)
    level = images.mean((1, 2, 3), keepdim=True)
    return level + (images - level) * _uniform(images, 0.5, 1.5)


def translation(images: torch.Tensor) -> torch.Tensor:
    """Shift by whole pixels, up to 1/8 of the side; the border is grey."""
    return shifted(images, TRANSLATION, "constant")


def cutout(images: torch.Tensor) -> torch.Tensor:
    """Paint a grey square of half the side; its centre is anywhere, so part of it may be outside."""
    inside = torch.ones((), device=images.device, dtype=torch.bool)
    for axis in (2, 3):
        side = images.shape[axis]
        edge = int(side * CUTOUT + 0.5)
        first = _integers(images, 0, side + 1 - edge % 2) - edge // 2
        place = torch.arange(side, device=images.device)
        along = (place >= first[:, None]) & (place < first[:, None] + edge)  # (N, side)
        inside = inside & _spread(along, axis)
    return images * ~inside


def flip(images: torch.Tensor) -> torch.Tensor:
    """Flip half of the images left to right."""
    return torch.where(_uniform(images, 0.0, 1.0) < 0.5, images.flip(3), images)


def shifted(images: torch.Tensor, fraction: float, mode: str) -> torch.Tensor:
    """Shift by whole pixels, up to `fraction` of the side along both axes; `mode`: torch's padding of the border."""
    reach = [int(images.shape[axis] * fraction + 0.5) for axis in (2, 3)]
    padded = pad(images, (reach[1], reach[1], reach[0], reach[0]), mode)
    for axis in (2, 3):
        first = _integers(images, 0, 2 * reach[axis - 2] + 1)
        place = first[:, None] + torch.arange(images.shape[axis], device=images.device)  # (N, side)
        shape = [*padded.shape]
        shape[axis] = images.shape[axis]
        padded = padded.gather(axis, _spread(place, axis).expand(shape))
    return padded


def sometimes(
    transform: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, probability: float | torch.Tensor
) -> torch.Tensor:
    """Apply the transform to each image with this probability, a number or a scalar on the images' device."""
    return torch.where(_uniform(images, 0.0, 1.0) < probability, transform(images), images)


TRANSFORMS = {"color": colour, "translation": translation, "cutout": cutout}
Policy = Annotated[list[Literal["color", "translation", "cutout"]], MinLen(1)]
"""Names of transforms, in the order in which they are applied."""


def _uniform(images: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """(N, 1, 1, 1)."""
    drawn = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)
    return drawn * (high - low) + low


def _spread(values: torch.Tensor, axis: int) -> torch.Tensor:
    """(N, side) → (N, 1, side, 1) or (N, 1, 1, side)."""
    return values[:, None, :, None] if axis == 2 else values[:, None, None, :]


def _integers(images: torch.Tensor, low: int, below: int) -> torch.Tensor:
    """(N,)."""
    return torch.randint(low, below, (len(images),), device=images.device)
