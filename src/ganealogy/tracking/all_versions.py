"""One picture per tick of all versions and seeds, because MLflow's image grid shows ten runs at most. No MLflow here.

Rows are versions, columns are seeds, and a cell has the first samples of that run's grid. The samples of a column have
the same latents, where these have the same size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ganealogy.files import atomic, images
from ganealogy.tracking.run_record import RunRecord

MAX_SIDE = 1600
"""Pixels of a side."""
MAX_BYTES = 1_000_000
"""Of the PNG that MLflow stores."""
MAX_TICKS = 25
MAX_SAMPLES, MAX_TILE, MIN_TILE = 8, 96, 8
SAMPLES_PER_ROW = 12
"""Samples of all seeds together, where the width allows it."""
PAD, GAP, HEADER, LINE = 2, 10, 44, 20
FONT_SIZE = 14
BACKGROUND, INK, EMPTY = "white", "#333333", "#e4e4e4"


@dataclass(frozen=True)
class AllVersions:
    """The runs of a tree, as a table."""

    versions: Sequence[str]
    seeds: Sequence[int]
    runs: Mapping[tuple[str, int], RunRecord]
    """(version, seed) → run. A run that is not there has an empty cell."""

    @property
    def steps(self) -> list[int]:
        """The steps of the pictures: those of the grids, at most MAX_TICKS, evenly spread, with the first and last."""
        steps = sorted({step for record in self.runs.values() for step in record.grids})
        if len(steps) <= MAX_TICKS:
            return steps
        return [steps[round(index * (len(steps) - 1) / (MAX_TICKS - 1))] for index in range(MAX_TICKS)]

    @cached_property
    def digest(self) -> str:
        """Identifies the pictures' content: they are drawn and posted again where it differs."""
        steps = self.steps
        cells = [
            [
                version,
                seed,
                record.status,
                [atomic.sha256(record.grids[step]) for step in steps if step in record.grids],
            ]
            for (version, seed), record in sorted(self.runs.items())
        ]
        return atomic.digest([list(self.versions), list(self.seeds), steps, cells])

    def pictures(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield (step, picture), with tiles as large as the limits allow; they never grow from one to the next."""
        tile, samples = self._layout()
        for step in self.steps:
            picture = self._draw(step, tile, samples)
            while tile > MIN_TILE and _png_bytes(picture) > MAX_BYTES:
                tile = max(MIN_TILE, int(tile * 0.85))
                picture = self._draw(step, tile, samples)
            yield step, picture

    def _layout(self) -> tuple[int, int]:
        """Return the side of a tile and the samples per cell."""
        seeds, rows = max(1, len(self.seeds)), max(1, len(self.versions))
        width, height = (MAX_SIDE - self._label_width) // seeds - GAP, (MAX_SIDE - HEADER) // rows - PAD
        native = max((_tile(record) for record in self.runs.values()), default=images.TILE)
        wanted = min(MAX_SAMPLES, max(1, SAMPLES_PER_ROW // seeds))
        tile = max(MIN_TILE, min(native, MAX_TILE, height, width - PAD))
        return tile, max(1, min(wanted, width // (tile + PAD)))

    @cached_property
    def _label_width(self) -> int:
        return min(200, 12 + max((int(_font().getlength(version)) for version in self.versions), default=0))

    def _draw(self, step: int, tile: int, samples: int) -> Image.Image:
        left, width, height = self._label_width, samples * (tile + PAD) + GAP, tile + PAD
        size = (left + len(self.seeds) * width, HEADER + len(self.versions) * height)
        picture = Image.new("RGB", size, BACKGROUND)
        draw, font = ImageDraw.Draw(picture), _font()
        draw.text((4, 2), self._caption(step), INK, font)
        for column, seed in enumerate(self.seeds):
            draw.text((left + column * width, LINE), f"seed {seed}", INK, font)
        for row, version in enumerate(self.versions):
            top = HEADER + row * height
            draw.text((4, top + max(0, (tile - FONT_SIZE) // 2)), _fitted(version, left - 8), INK, font)
            for column, seed in enumerate(self.seeds):
                corner = (left + column * width, top)
                strip = self._cell((version, seed), step, tile, samples)
                if isinstance(strip, Image.Image):
                    picture.paste(strip, corner)
                    continue
                draw.rectangle((*corner, corner[0] + width - GAP - PAD, top + tile - 1), outline=EMPTY)
                draw.text((corner[0] + 6, top + max(0, (tile - FONT_SIZE) // 2)), strip, INK, font)
        if max(size) > MAX_SIDE:  # hundreds of versions or seeds
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
        return picture

    def _cell(self, run: tuple[str, int], step: int, tile: int, samples: int) -> Image.Image | str:
        """Return the run's first samples at that step, or why there are none."""
        record = self.runs.get(run)
        if record is None:
            return ""
        path = record.grids.get(step)
        if path is None:
            return record.status if record.status in ("diverged", "interrupted", "stopped") else ""
        try:
            return _first_samples(path, _tile(record), tile, samples)
        except OSError:
            return "not readable"  # its own sync has printed the remedy

    def _caption(self, step: int) -> str:
        ticks = (tick for record in self.runs.values() for tick in record.ticks if tick["step"] == step)
        tick = next(ticks, None)
        if tick is None:
            return f"step {step}"
        epoch = f" · epoch {tick['epoch']:.3g}" if tick.get("epoch") is not None else ""
        return f"{tick['kimg']:g} kimg{epoch} · step {step}"


def _tile(record: RunRecord) -> int:
    """Return the side of a tile in the run's grids: see `images.enlarged`."""
    side = int(record.run["protocol"]["image_size"])
    return side * max(1, round(images.TILE / side))


def _first_samples(path: Path, native: int, tile: int, samples: int) -> Image.Image:
    """Return the first samples of a grid of `native` tiles, side by side. Raises: OSError."""
    with Image.open(path) as grid:
        content = grid.convert("RGB")
    strip = Image.new("RGB", (samples * (tile + PAD) - PAD, tile), BACKGROUND)
    for index in range(min(samples, (content.width - PAD) // (native + PAD))):
        left = PAD + index * (native + PAD)
        sample = content.crop((left, PAD, left + native, PAD + native))
        strip.paste(
            sample.resize((tile, tile), Image.Resampling.BOX) if tile != native else sample, (index * (tile + PAD), 0)
        )
    return strip


def _png_bytes(picture: Image.Image) -> int:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.tell()


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _fitted(text: str, width: int) -> str:
    """Return the text, shortened to `width` pixels."""
    font = _font()
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…" if text.endswith("…") else text[:-1] + "…"
    return text
