"""Images between the networks' range and files: uint8 (N, H, W, C) arrays, grids, PNGs.

N images, H height, W width, C channels (1 or 3).
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
"""zlib's strategy of that name."""

Pictures = np.ndarray[Any, np.dtype[np.uint8]]


def to_uint8(images: torch.Tensor) -> Pictures:
    """(N, C, H, W) floats in [-1, 1] → (N, H, W, C) uint8; values outside are clipped, as a screen would."""
    import torch  # here, as pictures are looked at where nothing is trained

    levels = (images.detach().float() + 1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    array: Pictures = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def grid(images: Pictures, columns: int, pad: int = 2, background: int = 255) -> Image.Image:
    """(N, H, W, C) → one picture, row by row, with `pad` pixels of `background` around each image."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, channels), background, np.uint8)
    for index, image in enumerate(images):
        top, left = pad + index // columns * (height + pad), pad + index % columns * (width + pad)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


def save_png(image: Image.Image, path: Path | str) -> None:
    """The same pixels give the same bytes: no time, no software tag.

    Run lengths alone are as small here as zlib's search for longer repeats, in 60 % of its time.
    """
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=4, compress_type=Z_RLE)
    atomic.write_bytes(path, buffer.getvalue())
