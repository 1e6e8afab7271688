"""Pictures small enough to embed in the page: crops, WebP, data URIs.

A function that reads an absent or broken picture adds a gap and returns None, so that the page shows the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ganealogy.errors import one_line
from ganealogy.files import images
from ganealogy.files.records import RecordError
from ganealogy.report.collect import read_record
from ganealogy.report.findings import Findings, Gap, Run
from ganealogy.workspace import REFERENCE

T = TypeVar("T")
GRID_SIDE = 8
"""Images per row and column of the sheets that training and reference draw."""
FRAMES = 24
"""Maximum number of grids per training in the page, evenly spaced."""
WALKS_BUDGET = 1_100_000
"""Bytes of all animated interpolations; base64 adds a third."""
WALK_SIZES = ((2, 200), (2, 100), (3, 100), (4, 100), (6, 100))
"""(keep every n-th frame, maximum width in pixels): the first entry that fits the budget is used."""
Fit = tuple[int, int, int]
"""(images per row and column, maximum side in pixels, WebP quality). Sides are those of small pictures' sheets, which
`images.grid` enlarges to 530 pixels, divided by whole numbers."""
SAMPLES: tuple[int, tuple[Fit, ...]] = (
    4_000_000,
    ((8, 530, 72), (8, 530, 60), (8, 530, 50), (8, 265, 75), (6, 200, 65), (5, 166, 55), (4, 133, 50), (3, 100, 45)),
)
"""Budget of all sample sheets in bytes, and the fits to try in order."""
GRIDS: tuple[int, tuple[Fit, ...]] = (
    2_000_000,
    ((8, 265, 75), (6, 200, 75), (5, 166, 65), (4, 133, 75), (3, 100, 60), (3, 100, 40), (3, 67, 40)),
)
STRIPS: tuple[int, tuple[Fit, ...]] = (500_000, ((8, 600, 82), (8, 600, 60), (8, 300, 60), (8, 300, 40), (8, 200, 30)))
NEIGHBOURS: tuple[int, tuple[Fit, ...]] = (
    800_000,
    ((8, 530, 72), (8, 530, 60), (8, 530, 50), (8, 265, 60), (8, 180, 40), (8, 135, 30)),
)
CLASSES: tuple[int, tuple[Fit, ...]] = (
    1_000_000,
    ((8, 1400, 72), (8, 1400, 50), (8, 700, 60), (8, 700, 40), (8, 467, 30)),
)
THUMBNAILS: tuple[int, tuple[Fit, ...]] = (250_000, ((3, 200, 80), (3, 200, 65), (3, 100, 70), (3, 100, 50)))
SHEET_SIDE = GRID_SIDE * (images.TILE + 2) + 2
"""Maximum side of a sheet in pixels: that of small pictures, which are enlarged."""
PNG_LIMIT = 300_000
"""Bytes of a PNG."""
PNG_COLUMNS = (GRID_SIDE, 6, 5, 4)
"""Images per row and column of the PNGs, to try in order."""
BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""Errors of Pillow and numpy for files that are not pictures."""


@dataclass
class Gallery:
    """All pictures of the report by run name (`v3-0`); runs without a picture have no entry."""

    real: Image.Image | None = None
    samples: dict[str, Image.Image] = field(default_factory=dict)
    strips: dict[str, Image.Image] = field(default_factory=dict)
    neighbours: dict[str, Image.Image] = field(default_factory=dict)
    walks: dict[str, str] = field(default_factory=dict)
    frames: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    classes: dict[str, Image.Image] = field(default_factory=dict)
    """By version: the sheet of classes of a conditional version's first seed with samples."""


def gather(findings: Findings) -> Gallery:
    """Read the pictures of all runs; absent and broken ones are added to the gaps of `findings`."""
    started = [run for run in findings.runs if run.status not in ("missing", "broken")]
    return Gallery(
        real=real_sheet(findings),
        samples={run.name: sheet for run in started if (sheet := samples(run, findings)) is not None},
        strips={run.name: sheet for run in started if (sheet := strip(run, findings)) is not None},
        neighbours={run.name: sheet for run in started if (sheet := neighbours(run, findings)) is not None},
        walks=walks(started, findings),
        frames=frames(started, findings),
        classes=class_sheets(findings),
    )


def fitted(sheets: dict[str, Image.Image], limits: tuple[int, tuple[Fit, ...]]) -> tuple[dict[str, str], Fit]:
    """Return the sheets as URIs, all shrunk by the first fit that keeps the budget (else the last), and that fit.

    `limits`: budget in bytes and fits. The total size is estimated from a few evenly spaced sheets.
    """
    budget, fits = limits
    probe = list(sheets.values())[:: max(1, len(sheets) // 5)]
    fit = fits[0]
    for fit in fits:
        if sum(len(_encoded(sheet, fit)) for sheet in probe) / max(len(probe), 1) * len(sheets) <= budget:
            break
    with ThreadPoolExecutor() as threads:  # Pillow encodes outside of Python's lock
        contents = threads.map(partial(_encoded, fit=fit), sheets.values())
        return {key: _uri(content, "image/webp") for key, content in zip(sheets, contents, strict=True)}, fit


def data_uri(picture: Image.Image, quality: int = 82) -> str:
    """Return the picture as WebP in a data URI; equal pixels give equal text."""
    return _uri(_webp(picture, quality), "image/webp")


def samples(run: Run, findings: Findings) -> Image.Image | None:
    """Return the first 64 samples as a sheet; versions with the same latent size share the latents."""
    path = run.directory / "sample/images.npy"

    def read() -> Image.Image:
        array = np.load(path, mmap_mode="r", allow_pickle=False)[: GRID_SIDE**2]
        if array.ndim != 4 or array.dtype != np.uint8 or not len(array):
            raise ValueError(f"expected uint8 (N, H, W, C), found {array.dtype} {array.shape}")
        return at_most(images.grid(np.asarray(array), GRID_SIDE), SHEET_SIDE)

    if reason := _no_samples_reason(run):
        findings.gaps.append(Gap(f"samples of {run.label}", reason))
        return None
    hint = f"dvc repro sample@{run.version}"
    return _read_or_gap(read, f"samples of {run.label}", path, findings, hint)


def real_sheet(findings: Findings) -> Image.Image | None:
    """Return the sheet of real pictures."""
    path = findings.root / REFERENCE / "real.png"
    what, hint = "real pictures to compare with", "dvc repro reference"
    return _read_or_gap(lambda: at_most(read_rgb(path), SHEET_SIDE), what, path, findings, hint)


def strip(run: Run, findings: Findings) -> Image.Image | None:
    """Return the interpolation between latents as one row."""
    path = run.directory / "sample/strip.png"
    if _no_samples_reason(run) or not path.parent.is_dir():  # `samples` adds the gap
        return None
    return _read_or_gap(lambda: at_most(read_rgb(path), 600), f"interpolation of {run.label}", path, findings, "")


def neighbours(run: Run, findings: Findings) -> Image.Image | None:
    """Return rows of a sample and its nearest training pictures; None without a gap if the evaluation drew none."""
    path = run.directory / "evaluate/neighbours.png"
    if not run.neighbours and not path.exists():
        return None
    hint = f"dvc repro evaluate@{run.version}"
    what = f"nearest training pictures of {run.label}"
    return _read_or_gap(lambda: at_most(read_rgb(path), SHEET_SIDE), what, path, findings, hint)


def class_sheets(findings: Findings) -> dict[str, Image.Image]:
    """Return conditional version → the sheet of its classes, of its first seed with samples."""
    sheets = {}
    for version in findings.listed:
        paths = {run: run.directory / "sample/classes.png" for run in version.runs}
        sampled = [run for run, path in paths.items() if path.parent.is_dir() and not _no_samples_reason(run)]
        if version.recipe.get("labels") and sampled:
            run = next((run for run in sampled if paths[run].exists()), sampled[0])
            read, hint = partial(read_rgb, paths[run]), f"dvc repro sample@{run.version}"
            if (sheet := _read_or_gap(read, f"classes of {run.label}", paths[run], findings, hint)) is not None:
                sheets[version.name] = sheet
    return sheets


def walks(runs: list[Run], findings: Findings) -> dict[str, str]:
    """Return run name → animated interpolation as a URI; all are thinned and scaled alike to fit the budget."""
    paths = {run: run.directory / "sample/walk.webp" for run in runs}
    present = [(run, path) for run, path in paths.items() if path.exists()]  # `strip` adds the gap
    budget = WALKS_BUDGET / max(len(present), 1)
    step, side = WALK_SIZES[0]
    uris: dict[str, str] = {}
    for run, path in present:
        what = f"animated interpolation of {run.label}"
        content = _read_or_gap(partial(_shrunk, path, step, side), what, path, findings, "")
        while content is not None and len(content) > 1.2 * budget and (step, side) != WALK_SIZES[-1]:
            step, side = WALK_SIZES[WALK_SIZES.index((step, side)) + 1]
            content = _read_or_gap(partial(_shrunk, path, step, side), what, path, findings, "")
        if content is not None:
            uris[run.name] = _uri(content, "image/webp")
    return uris


def frames(runs: list[Run], findings: Findings) -> dict[str, list[tuple[int, str]]]:
    """Return run name → [(step, URI)] of the grids drawn during training, all cropped alike to fit the budget.

    A long training gets evenly spaced grids, including the first and the last.
    """
    sheets: dict[str, list[tuple[int, Image.Image]]] = {}
    for run in runs:
        for path in sorted((run.directory / "train/grids").glob("*.png")):
            sheet = _read_or_gap(partial(read_rgb, path), f"grid {path.stem} of {run.label}", path, findings, "")
            if sheet is not None and path.stem.isdigit():
                sheets.setdefault(run.name, []).append((int(path.stem), sheet))
        if run.name not in sheets:
            findings.gaps.append(Gap(f"grids of {run.label}", "train/grids holds no readable grid"))
    stride = -(-max(map(len, sheets.values()), default=1) // FRAMES)
    selected = {
        (name, step): sheet
        for name, series in sheets.items()
        for index, (step, sheet) in enumerate(series)
        if index % stride == 0 or index == len(series) - 1
    }
    encoded, _ = fitted({f"{name}/{step}": sheet for (name, step), sheet in selected.items()}, GRIDS)
    uris_of: dict[str, list[tuple[int, str]]] = {}
    for name, step in selected:
        uris_of.setdefault(name, []).append((step, encoded[f"{name}/{step}"]))
    return uris_of


def pngs(sheets: dict[str, Image.Image]) -> dict[str, bytes]:
    """Return the sheets as PNGs, all cropped alike so that each keeps `PNG_LIMIT` (else to the last of the crops)."""
    found: dict[str, bytes] = {}
    for columns in PNG_COLUMNS:
        found = {name: _png(crop(at_most(sheet, SHEET_SIDE), columns)) for name, sheet in sheets.items()}
        if all(len(content) <= PNG_LIMIT for content in found.values()):
            break
    return found


def crop(sheet: Image.Image, columns: int, rows: int | None = None) -> Image.Image:
    """Return the top left images of an 8 × 8 sheet."""
    cell = sheet.width / GRID_SIDE
    return sheet.crop((0, 0, round(cell * columns), min(sheet.height, round(cell * (rows or columns)))))


def _encoded(sheet: Image.Image, fit: Fit) -> bytes:
    columns, side, quality = fit
    cropped = sheet if columns == GRID_SIDE else crop(sheet, columns)
    return _webp(at_most(cropped, side), quality)


def at_most(picture: Image.Image, side: int) -> Image.Image:
    """Reduce by a whole factor: the repeated pixels of small pictures keep their edges."""
    factor = -(-max(picture.size) // side)
    return picture if factor == 1 else picture.reduce(factor)


def read_rgb(path: Path) -> Image.Image:
    """Raises: one of `BROKEN` for a file that is not a picture."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    picture.convert("RGB").save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _shrunk(path: Path, step: int, side: int) -> bytes:
    """Keep every `step`-th frame of an animation, at most `side` pixels wide, at the same speed."""
    with Image.open(path) as animation:
        count, duration = getattr(animation, "n_frames", 1), 0
        frames = []
        for index in range(count):
            animation.seek(index)
            if index % step == 0:
                frames.append(at_most(animation.convert("RGB"), side))
            duration = max(duration, int(animation.info.get("duration", 0)))
    buffer = BytesIO()
    pace = (duration or 60) * step
    frames[0].save(
        buffer, format="WEBP", save_all=True, append_images=frames[1:], duration=pace, loop=0, quality=60, method=2
    )
    return buffer.getvalue()


def _no_samples_reason(run: Run) -> str:
    """Return the sample stage's reason for drawing no samples; empty if it drew some or gave none."""
    try:
        record = read_record(run.directory / "sample/sample.json", "")
    except RecordError:  # then reading the samples adds the gap
        return ""
    return "" if record.get("count") else str(record.get("reason") or "")


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _read_or_gap(read: Callable[[], T], what: str, path: Path, findings: Findings, hint: str) -> T | None:
    relative = path.relative_to(findings.root)
    try:
        return read()
    except FileNotFoundError:
        findings.gaps.append(Gap(what, f"{relative}: no such file", hint))
    except BROKEN as error:
        message = one_line(error).replace(str(path), path.name)
        findings.gaps.append(Gap(what, f"{relative}: not a readable picture ({message})", hint))
    return None
