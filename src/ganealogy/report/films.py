"""`reports/progress/`: of each run, the grids drawn during training as a film, and the newest one as PNG."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ganealogy.files import atomic
from ganealogy.report import wording
from ganealogy.report.findings import Findings, Run
from ganealogy.report.pictures import Fit, Gallery, at_most, crop, pngs, read_rgb
from ganealogy.workspace import REPORT_PROGRESS

LIMIT = 250_000
"""Bytes of the film whose grids are the largest files; others of the same fit may be a little larger."""
FITS: tuple[Fit, ...] = ((8, 530, 75), (8, 530, 60), (8, 265, 75), (6, 200, 70), (5, 166, 60), (4, 133, 60))
"""To try in order, the same for all films: see `pictures.Fit`."""
FRAME_MS, LAST_MS = 600, 2000
CAPTION, FONT = 18, 12
"""Height of a frame's caption and of its letters, in pixels."""


def film_name(run: Run) -> str:
    """Return the name of a run's files, without suffix: `v1-seed0`."""
    return f"{run.version}-seed{run.seed}"


def write_films(findings: Findings, gallery: Gallery) -> None:
    """Write a film, and the newest grid, of each run with grids in the gallery."""
    folder = findings.root / REPORT_PROGRESS
    folder.mkdir(parents=True, exist_ok=True)  # DVC fails a stage without one of its outputs
    grids = {run: _grids(run, gallery) for run in findings.runs if run.name in gallery.frames}
    if not grids:
        return
    largest = max(grids, key=lambda run: sum(path.stat().st_size for path in grids[run]))
    fit = next((fit for fit in FITS if len(_film(largest, grids[largest], fit)) <= LIMIT), FITS[-1])
    with ThreadPoolExecutor() as threads:  # Pillow encodes outside of Python's lock
        contents = threads.map(partial(_film, fit=fit), grids, grids.values())
        for run, content in zip(grids, contents, strict=True):
            atomic.write_bytes(folder / f"{film_name(run)}.webp", content)
    newest = {film_name(run): read_rgb(paths[-1]) for run, paths in grids.items()}
    for name, png in pngs(newest).items():
        atomic.write_bytes(folder / f"{name}.png", png)


def _grids(run: Run, gallery: Gallery) -> list[Path]:
    """Return the files that the gallery shows, in the order of training: readable and evenly spaced."""
    paths = {int(path.stem): path for path in (run.directory / "train/grids").glob("*.png") if path.stem.isdigit()}
    return [paths[step] for step, _ in gallery.frames[run.name]]


def _film(run: Run, grids: list[Path], fit: Fit) -> bytes:
    """Return an animated WebP; each frame has a caption with the progress of the training."""
    columns, side, quality = fit
    kimg = {tick.get("step"): f"{wording.figure(tick.get('kimg'))} kimg" for tick in run.ticks}
    font = ImageFont.load_default(FONT)
    frames = []
    for path in grids:
        step = int(path.stem)
        sheet = at_most(crop(read_rgb(path), columns), side)
        frame = Image.new("RGB", (sheet.width, sheet.height + CAPTION), "white")
        frame.paste(sheet)
        text = f"{run.label}, {kimg.get(step, f'step {step}')}"
        ImageDraw.Draw(frame).text((3, sheet.height), text, fill="black", font=font)
        frames.append(frame)
    buffer = BytesIO()
    pace = [*[FRAME_MS] * (len(frames) - 1), LAST_MS]
    frames[0].save(
        buffer, format="WEBP", save_all=True, append_images=frames[1:], duration=pace, loop=0, quality=quality, method=2
    )
    return buffer.getvalue()
