"""Pictures small enough to stand inside the page: crops, WebP, data URIs.

`side` is images a row and column of a sheet. Every function returns None after noting a gap when a picture is absent or
broken, so that the page shows the rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ganealogy.files import images
from ganealogy.report.collect import REFERENCE
from ganealogy.report.findings import Findings, Gap, Run

T = TypeVar("T")
GRID_SIDE = 8
"""Images a row and column of the sheets that training and reference draw."""
FRAMES = 24
"""Grids of a training that the page shows at most; of more, evenly spread ones."""
WALKS_BUDGET = 1_100_000
"""Bytes of all animated interpolations, before base64 adds a third."""
WALK_SIZES = ((2, 198), (2, 132), (3, 132), (4, 99), (6, 99))
"""(every so many frames, at most so many pixels): an animation is shrunk by the first that fits."""
Fit = tuple[int, int, int]
"""(images a row and column, pixels a side at most, WebP quality)"""
SAMPLES: tuple[int, tuple[Fit, ...]] = (
    4_000_000,
    ((8, 512, 82), (8, 512, 68), (8, 400, 68), (8, 400, 50), (6, 300, 55), (5, 240, 55), (4, 180, 50), (3, 120, 45)),
)
"""Bytes that all sheets of samples may take, and what is tried until they do."""
GRIDS: tuple[int, tuple[Fit, ...]] = (
    2_000_000,
    ((8, 320, 75), (6, 320, 75), (5, 320, 75), (4, 320, 75), (4, 240, 65), (3, 200, 60), (3, 120, 55), (3, 90, 40)),
)
STRIPS: tuple[int, tuple[Fit, ...]] = (500_000, ((8, 640, 82), (8, 640, 60), (8, 480, 50), (8, 320, 40), (8, 240, 30)))
NEIGHBOURS: tuple[int, tuple[Fit, ...]] = (
    800_000,
    ((8, 512, 80), (8, 400, 65), (8, 320, 55), (8, 240, 50), (8, 160, 40), (8, 120, 30)),
)
THUMBNAILS: tuple[int, tuple[Fit, ...]] = (250_000, ((3, 208, 80), (3, 160, 70), (3, 128, 60), (3, 96, 50)))
SHEET_SIDE = 512
"""No sheet in the page is larger than this, in pixels: it is shown at about that size."""
BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow and numpy raise for files that are not pictures."""


@dataclass
class Gallery:
    """Every picture of the report, read once; runs without one have no key (`v3-0`)."""

    real: Image.Image | None
    samples: dict[str, Image.Image]
    strips: dict[str, Image.Image]
    neighbours: dict[str, Image.Image]
    walks: dict[str, str]
    frames: dict[str, list[tuple[int, str]]]


def gather(findings: Findings) -> Gallery:
    """Read the pictures of all runs that left some; those absent or broken are added to the findings' gaps."""
    begun = [run for run in findings.runs if run.status not in ("missing", "broken")]
    return Gallery(
        real=real_sheet(findings),
        samples={run.key: sheet for run in begun if (sheet := samples(run, findings)) is not None},
        strips={run.key: sheet for run in begun if (sheet := strip(run, findings)) is not None},
        neighbours={run.key: sheet for run in begun if (sheet := neighbours(run, findings)) is not None},
        walks=walks(begun, findings),
        frames=frames(begun, findings),
    )


def fitted(sheets: dict[str, Image.Image], wanted: tuple[int, tuple[Fit, ...]]) -> tuple[dict[str, str], Fit]:
    """The sheets as URIs, all shrunk alike by the first fit with which they keep to the budget (else by the last).

    The size is judged by a few of them, evenly chosen.
    """
    budget, fits = wanted
    probe = list(sheets.values())[:: max(1, len(sheets) // 5)]
    fit = fits[0]
    for fit in fits:
        if sum(len(_encoded(sheet, fit)) for sheet in probe) / max(len(probe), 1) * len(sheets) <= budget:
            break
    return {key: _uri(_encoded(sheet, fit), "image/webp") for key, sheet in sheets.items()}, fit


def data_uri(picture: Image.Image, quality: int = 82) -> str:
    """The picture as WebP in an URI; equal pixels give equal text."""
    return _uri(_webp(picture, quality), "image/webp")


def samples(run: Run, findings: Findings) -> Image.Image | None:
    """The first 64 samples as a sheet; the same latents in every version whose latents have the same size."""
    path = run.directory / "sample/images.npy"

    def read() -> Image.Image:
        array = np.load(path, mmap_mode="r", allow_pickle=False)[: GRID_SIDE**2]
        if array.ndim != 4 or array.dtype != np.uint8 or not len(array):
            raise ValueError(f"expected uint8 (N, H, W, C), found {array.dtype} {array.shape}")
        return _at_most(images.grid(np.asarray(array), GRID_SIDE, pad=1), SHEET_SIDE)

    if reason := _why_none(run):
        findings.gaps.append(Gap(f"samples of {run.name}", reason))
        return None
    cure = f"dvc repro sample@{run.key}"
    return _guarded(read, f"samples of {run.name}", path, findings, cure)


def real_sheet(findings: Findings) -> Image.Image | None:
    """The sheet of real pictures to hold the samples against."""
    path = findings.root / REFERENCE / "real.png"
    what, cure = "real pictures to compare with", "dvc repro reference"
    return _guarded(lambda: _at_most(_open(path), SHEET_SIDE), what, path, findings, cure)


def strip(run: Run, findings: Findings) -> Image.Image | None:
    """The interpolation between latents as one row."""
    path = run.directory / "sample/strip.png"
    if _why_none(run) or not path.parent.is_dir():  # told where the samples are missed
        return None
    return _guarded(lambda: _at_most(_open(path), 640), f"interpolation of {run.name}", path, findings, "")


def neighbours(run: Run, findings: Findings) -> Image.Image | None:
    """Rows of a sample and the training pictures nearest to it; None without a gap when the evaluation drew none."""
    path = run.directory / "evaluate/neighbours.png"
    if not run.neighbours and not path.exists():
        return None
    cure = f"dvc repro evaluate@{run.key}"
    what = f"nearest training pictures of {run.name}"
    return _guarded(lambda: _at_most(_open(path), SHEET_SIDE), what, path, findings, cure)


def walks(runs: list[Run], findings: Findings) -> dict[str, str]:
    """`v3-0` → the animated interpolation as an URI; all are thinned and scaled alike so that together they fit."""
    paths = {run: run.directory / "sample/walk.webp" for run in runs}
    present = [(run, path) for run, path in paths.items() if path.exists()]  # its strip tells what is missing
    share = WALKS_BUDGET / max(len(present), 1)
    step, side = WALK_SIZES[0]
    found: dict[str, str] = {}
    for run, path in present:
        what = f"animated interpolation of {run.name}"
        content = _guarded(partial(_shrunk, path, step, side), what, path, findings, "")
        while content is not None and len(content) > 1.2 * share and (step, side) != WALK_SIZES[-1]:
            step, side = WALK_SIZES[WALK_SIZES.index((step, side)) + 1]
            content = _guarded(partial(_shrunk, path, step, side), what, path, findings, "")
        if content is not None:
            found[run.key] = _uri(content, "image/webp")
    return found


def frames(runs: list[Run], findings: Findings) -> dict[str, list[tuple[int, str]]]:
    """`v3-0` → [(step, URI)] of the grids drawn while training, all cropped alike so that together they fit.

    Of a long training evenly spread ones, the first and the last among them."""
    sheets: dict[str, list[tuple[int, Image.Image]]] = {}
    for run in runs:
        for path in sorted((run.directory / "train/grids").glob("*.png")):
            sheet = _guarded(partial(_open, path), f"grid {path.stem} of {run.name}", path, findings, "")
            if sheet is not None and path.stem.isdigit():
                sheets.setdefault(run.key, []).append((int(path.stem), sheet))
        if run.key not in sheets:
            findings.gaps.append(Gap(f"{run.name} through training", "train/grids holds no readable grid"))
    stride = -(-max(map(len, sheets.values()), default=1) // FRAMES)
    kept = {
        (key, step): sheet
        for key, series in sheets.items()
        for index, (step, sheet) in enumerate(series)
        if index % stride == 0 or index == len(series) - 1
    }
    encoded, _ = fitted({f"{key}/{step}": sheet for (key, step), sheet in kept.items()}, GRIDS)
    found: dict[str, list[tuple[int, str]]] = {}
    for key, step in kept:
        found.setdefault(key, []).append((step, encoded[f"{key}/{step}"]))
    return found


def crop(sheet: Image.Image, columns: int, rows: int | None = None) -> Image.Image:
    """The top left images of an 8 × 8 sheet."""
    cell = sheet.width / GRID_SIDE
    return sheet.crop((0, 0, round(cell * columns), min(sheet.height, round(cell * (rows or columns)))))


def _encoded(sheet: Image.Image, fit: Fit) -> bytes:
    columns, side, quality = fit
    cropped = sheet if columns == GRID_SIDE else crop(sheet, columns)
    return _webp(_at_most(cropped, side), quality)


def _at_most(picture: Image.Image, side: int) -> Image.Image:
    if max(picture.size) <= side:
        return picture
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    picture.convert("RGB").save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _shrunk(path: Path, step: int, side: int) -> bytes:
    """Every `step`-th frame of an animation, at most `side` pixels wide; its pace stays."""
    with Image.open(path) as animation:
        count, duration = getattr(animation, "n_frames", 1), 0
        kept = []
        for index in range(count):
            animation.seek(index)
            if index % step == 0:
                kept.append(_at_most(animation.convert("RGB"), side))
            duration = max(duration, int(animation.info.get("duration", 0)))
    buffer = BytesIO()
    pace = (duration or 60) * step
    kept[0].save(
        buffer, format="WEBP", save_all=True, append_images=kept[1:], duration=pace, loop=0, quality=60, method=2
    )
    return buffer.getvalue()


def _why_none(run: Run) -> str:
    """Why the sample stage drew nothing, as it says itself; empty when it says nothing."""
    try:
        record = json.loads((run.directory / "sample/sample.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # then the pictures themselves are what to look for
        return ""
    return str(record.get("reason") or "") if isinstance(record, dict) and not record.get("count") else ""


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _guarded(read: Callable[[], T], what: str, path: Path, findings: Findings, cure: str) -> T | None:
    place = path.relative_to(findings.root)
    try:
        return read()
    except FileNotFoundError:
        findings.gaps.append(Gap(what, f"{place}: no such file", cure))
    except BROKEN as error:
        told = str(error).replace(str(path), path.name).splitlines()[0]
        findings.gaps.append(Gap(what, f"{place}: not a readable picture ({told})", cure))
    return None
