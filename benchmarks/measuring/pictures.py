"""Synthetic pictures with shapes, edges and grain, which take as long to decode as photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def face(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw a face on a background: an ellipse, hair, two eyes and a mouth at random positions and in random colours."""
    colours = [tuple(int(value) for value in rng.integers(0, 256, 3)) for _ in range(5)]
    picture = Image.new("RGB", (width, height), colours[0])
    draw = ImageDraw.Draw(picture)
    x, y = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.45, 0.6)
    a, b = width * rng.uniform(0.25, 0.4), height * rng.uniform(0.3, 0.42)
    draw.ellipse((x - a, y - 1.15 * b, x + a, y + 0.3 * b), fill=colours[1])
    draw.ellipse((x - 0.85 * a, y - 0.8 * b, x + 0.85 * a, y + b), fill=colours[2])
    for side in (-1, 1):
        eye = (x + side * 0.4 * a, y - 0.05 * b)
        draw.ellipse((eye[0] - 0.15 * a, eye[1] - 0.2 * b, eye[0] + 0.15 * a, eye[1] + 0.2 * b), fill=colours[3])
    draw.arc((x - 0.3 * a, y + 0.3 * b, x + 0.3 * a, y + 0.7 * b), 20, 160, fill=colours[4], width=max(1, height // 40))
    return picture


def packed(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return `count` pictures as uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    pictures: NDArray[np.uint8] = np.stack([np.asarray(face(rng, size, size)) for _ in range(count)])
    return pictures


def write_jpegs(folder: Path, count: int, width: int, height: int, seed: int = 0) -> None:
    """Write `folder`/00/000000.jpg …, 1,000 per subdirectory: different pictures with grain, as from a camera."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        grain = rng.normal(0, 6, (height, width, 1))
        pixels: NDArray[Any] = np.asarray(face(rng, width, height)) + grain
        path = folder / f"{index // 1000:02d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
