"""ADA's augmentation pipeline: random geometry, colours and cutout (Karras et al., arXiv 2006.06676, appendix B).

The transforms, their order, ranges and draws are those of the authors' code (stylegan2-ada-pytorch, `bgc` and cutout).
Geometric transforms are composed to one affine map per image and sampled once, between two low-pass filters. Pictures
are continued by reflection. Everything stays on the device, and only sums, products, convolutions and gathers are used,
so second derivatives exist and a CUDA graph can capture it.

Shapes: N images, C channels, H = W = side in pixels; grey is 0.
"""

from __future__ import annotations

from math import pi

import torch
from torch import nn
from torch.nn.functional import conv1d, conv_transpose1d, pad

from ganealogy.adversary.schedule import Fraction

SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
"""Symlet of order 6: an orthogonal low-pass filter, so that without a transform both filters cancel."""
INTEGER_SHIFT, CUTOUT = 1 / 8, 1 / 2
"""Largest shift by whole pixels, and edge of the hole, as fractions of the side."""
SCALE, STRETCH, SHIFT = 0.2, 0.2, 1 / 8
"""Standard deviations: of log2 of both scales, and of a shift as a fraction of the side."""
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
"""Standard deviations: of an offset of pixels in [-1, 1], and of log2 of two factors."""


class Pipeline(nn.Module):
    low_pass: torch.Tensor
    """(12,), with sum 1."""

    def __init__(self, blit: Fraction, geometry: Fraction, color: Fraction, cutout: Fraction) -> None:
        """The probability of each transform of a group, as a fraction of the pipeline's; a group of 0 is left out."""
        super().__init__()
        self.blit, self.geometry, self.color, self.cutout = blit, geometry, color, cutout
        taps = torch.tensor(SYM6, dtype=torch.float64)
        self.register_buffer("low_pass", taps / taps.sum(), persistent=False)

    def forward(self, images: torch.Tensor, probability: float | torch.Tensor) -> torch.Tensor:
        """Return transformed images (N, C, H, W); `probability`: a number, or a scalar on the images' device."""
        places = Places(images)
        if self.blit:
            blit(places, self.blit * probability)
        if self.geometry:
            geometry(places, self.geometry * probability)
        if self.blit or self.geometry:
            images = warped(images, places, self.low_pass.to(images.dtype))
        if self.color:
            images = recoloured(images, self.color * probability)
        return cut_out(images, self.cutout * probability) if self.cutout else images


class Places:
    """An affine map per image: places of the result → places of the image, both in pixels from the centre."""

    def __init__(self, images: torch.Tensor) -> None:
        """Start with the identity."""
        self.like, self.count, self.side = images, len(images), images.shape[-1]
        self.linear = torch.eye(2, device=images.device, dtype=images.dtype).expand(self.count, 2, 2)
        self.offset = torch.zeros(self.count, 2, device=images.device, dtype=images.dtype)

    # Each transform below is applied to the result's places before those so far.

    def scale(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Multiply both coordinates by (N,) factors."""
        self.linear = self.linear * torch.stack([x, y], 1)[:, None]

    def rotate(self, angle: torch.Tensor) -> None:
        """Rotate by (N,) radians."""
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([cos, -sin, sin, cos], 1).unflatten(1, (2, 2))
        self.linear = (self.linear[:, :, :, None] * turn[:, None]).sum(2)  # no matmul: TF32 would move pixels

    def shift(self, by: torch.Tensor) -> None:
        """Add (N, 2) pixels."""
        self.offset = self.offset + (self.linear * by[:, None]).sum(2)


def blit(places: Places, probability: float | torch.Tensor) -> None:
    """Flip left to right, rotate by quarters and shift by whole pixels."""
    like, count = places.like, (places.count,)
    flipped = _sometimes(_uniform(like, count).mul(2).floor(), probability, 0.0)
    places.scale(1 - 2 * flipped, torch.ones_like(flipped))
    places.rotate(_sometimes(_uniform(like, count).mul(4).floor(), probability, 0.0) * (pi / 2))
    by = _sometimes((_uniform(like, (*count, 2)) * 2 - 1) * INTEGER_SHIFT, probability, 0.0)
    places.shift(-(by * places.side).round())


def geometry(places: Places, probability: float | torch.Tensor) -> None:
    """Scale, rotate, stretch, rotate again, and shift by fractions of a pixel."""
    like, count = places.like, (places.count,)
    size = _sometimes((_normal(like, count) * SCALE).exp2(), probability, 1.0)
    places.scale(1 / size, 1 / size)
    _rotate(places, probability)
    stretch = _sometimes((_normal(like, count) * STRETCH).exp2(), probability, 1.0)
    places.scale(1 / stretch, stretch)
    _rotate(places, probability)
    by = _sometimes(_normal(like, (*count, 2)) * SHIFT, probability, 0.0)
    places.shift(-by * places.side)


def _rotate(places: Places, probability: float | torch.Tensor) -> None:
    """Rotate by any angle. Of two such rotations one or both happen with the given probability: each 1 - √(1 - p)."""
    angle = (_uniform(places.like, (places.count,)) * 2 - 1) * pi
    unused = 1 - _uniform(places.like, (places.count,))
    places.rotate(torch.where(1 - unused.square() < probability, angle, 0.0))


def warped(images: torch.Tensor, places: Places, low_pass: torch.Tensor) -> torch.Tensor:
    """Sample images (N, C, H, W) at the places: upsample twice, interpolate linearly, low-pass filter, downsample.

    Reflection continues a picture by a side less one pixel in each direction; beyond, there is grey. The authors' code
    reflects as far as the batch needs, which the host must wait for.
    """
    finer, coarser = filters(places.side, low_pass)
    fine = finer.T @ images @ finer  # products with small matrices are faster than depthwise convolutions
    # Twice as many pixels per side, and those that the second filter reaches.
    count = len(coarser)
    line = (torch.arange(count, device=images.device, dtype=images.dtype) - (count - 2) / 2) / 2  # (count,)
    by_x, by_y = places.linear.unbind(2)  # each (N, 2)
    found = by_x[:, :, None, None] * line + by_y[:, :, None, None] * line[:, None] + places.offset[:, :, None, None]
    found = 2 * found + (fine.shape[-1] - 2) / 2  # (N, 2, count, count): x and y in pixels of `fine`
    return coarser.T @ interpolated(fine, *found.unbind(1)) @ coarser


def filters(side: int, low_pass: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two matrices that act on rows of pixels from the right.

    (side, 2 (3 side - 2)): reflection at both ends, and upsampling by two; (2 side + 10, side): downsampling by two.
    """
    rows = torch.eye(side, device=low_pass.device, dtype=low_pass.dtype)
    mirrored = rows.flip(1)
    rows = torch.cat([mirrored[:, :-1], rows, mirrored[:, 1:]], 1)
    reach = len(low_pass) // 2 - 1
    finer = conv_transpose1d(rows[:, None], 2 * low_pass[None, None], stride=2, padding=reach)[:, 0]
    rows = torch.eye(2 * side + 2 * reach, device=low_pass.device, dtype=low_pass.dtype)
    return finer, conv1d(rows[:, None], low_pass[None, None], stride=2)[:, 0]


def interpolated(images: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W) at places x, y (N, h, w), in pixels from the first one's centre → (N, C, h, w).

    Bilinear, and 0 outside. torch's grid_sample has no second derivative.
    """
    images = pad(images, (1, 1, 1, 1))
    height, width = images.shape[2:]
    x, y = (x + 1).clamp(0, width - 1), (y + 1).clamp(0, height - 1)
    left, top = x.floor().clamp(max=width - 2), y.floor().clamp(max=height - 2)
    right, down = (x - left)[:, None], (y - top)[:, None]
    first = top.long() * width + left.long()
    corners = torch.stack([first, first + 1, first + width, first + width + 1], 1)  # (N, 4, h, w)
    # One gather of all four: the gradient of each would fill an array as large as the images.
    index = corners.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    pixels = images.flatten(2).gather(2, index).unflatten(2, corners.shape[1:])  # (N, C, 4, h, w)
    upper_left, upper_right, lower_left, lower_right = pixels.unbind(2)
    above, below = upper_left.lerp(upper_right, right), lower_left.lerp(lower_right, right)
    return above.lerp(below, down)


def recoloured(images: torch.Tensor, probability: float | torch.Tensor) -> torch.Tensor:
    """Change brightness and contrast, invert the luma, rotate the hue and scale the saturation; the last two in RGB."""
    each = (len(images), 1, 1, 1)
    images = images + _sometimes(_normal(images, each) * BRIGHTNESS, probability, 0.0)
    images = images * _sometimes((_normal(images, each) * CONTRAST).exp2(), probability, 1.0)
    inverted = _sometimes(_uniform(images, each).mul(2).floor(), probability, 0.0)
    images = images - 2 * inverted * images.mean(1, keepdim=True)
    if images.shape[1] == 1:
        return images
    angle = _sometimes((_uniform(images, each) * 2 - 1) * pi, probability, 0.0)
    grey = images.mean(1, keepdim=True)
    across = (images.roll(1, 1) - images.roll(-1, 1)) / 3**0.5  # the cross product with the axis of greys
    images = grey + (images - grey) * angle.cos() + across * angle.sin()
    factor = _sometimes((_normal(images, each) * SATURATION).exp2(), probability, 1.0)
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * factor


def cut_out(images: torch.Tensor, probability: float | torch.Tensor) -> torch.Tensor:
    """Paint a grey square of half the side; its centre is anywhere in the image, so part of it may be outside."""
    edge = _sometimes(torch.full_like(images[:, :1, :1, :1], CUTOUT), probability, 0.0)  # (N, 1, 1, 1)
    centre = _uniform(images, (len(images), 2, 1, 1))
    line = (torch.arange(images.shape[-1], device=images.device, dtype=images.dtype) + 0.5) / images.shape[-1]
    outside_x = (line - centre[:, :1]).abs() >= edge / 2  # (N, 1, 1, W)
    outside_y = (line[:, None] - centre[:, 1:]).abs() >= edge / 2  # (N, 1, H, 1)
    return images * (outside_x | outside_y)


def _sometimes(values: torch.Tensor, probability: float | torch.Tensor, otherwise: float) -> torch.Tensor:
    """Keep each image's values (N, …) with this probability, by one draw per image."""
    drawn = _uniform(values, (len(values), *[1] * (values.ndim - 1)))
    return torch.where(drawn < probability, values, otherwise)


def _uniform(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(shape, device=like.device, dtype=like.dtype)


def _normal(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, device=like.device, dtype=like.dtype)
