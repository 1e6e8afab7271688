"""The sheet of a class-conditional generator: a row per class with its name, a column per latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from ganealogy.files.images import enlarged, grid
from ganealogy.sampling.generate import generate

ROWS, COLUMNS = 20, 10
FONT_SIZE = 16
SIDE = 64
"""Of a picture, about, if it is smaller: the names beside the rows need the pixels."""
LETTERS = 18
"""Longest name in the sheet; longer ones are cut off."""


def class_sheet(generator: nn.Module, z: torch.Tensor, names: Sequence[str]) -> Image.Image:
    """Return the pictures of the first `ROWS` classes, each from the first `COLUMNS` latents of z (N, d).

    `names`: of the classes; those without one have their number.
    """
    classes = min(int(generator.classes), ROWS)  # type: ignore[arg-type]
    z = z[:COLUMNS]
    labels = torch.arange(classes).repeat_interleave(len(z))
    drawn = generate(generator, z.repeat(classes, 1), labels)
    pictures = grid(enlarged(drawn, SIDE), columns=len(z))
    shown = [_short(names[index]) if index < len(names) else f"class {index}" for index in range(classes)]
    font = ImageFont.load_default(FONT_SIZE)
    margin = 8 + int(max(font.getlength(name) for name in shown))
    sheet = Image.new(pictures.mode, (margin + pictures.width, pictures.height), "white")
    sheet.paste(pictures, (margin, 0))
    pen, height = ImageDraw.Draw(sheet), pictures.height / classes
    for row, name in enumerate(shown):
        pen.text((4, (row + 0.5) * height), name, fill="black", font=font, anchor="lm")
    return sheet


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
