"""The `sample` stage: pictures from a trained generator, as numbers for the evaluation and as sheets for people.

Every version with the same latent space draws the same latents, whatever its seed, so that sheets compare side by side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.images import Pictures, grid, save_png
from ganealogy.files.integrity import verify_weights
from ganealogy.files.records import read_record
from ganealogy.networks._build import load_generator
from ganealogy.runtime.progress import Progress
from ganealogy.sampling import latents
from ganealogy.sampling.generate import BATCH, cycled_labels, forward, generate

if TYPE_CHECKING:
    from ganealogy.workspace import RunJson, SampleJson

CHUNK = 5 * BATCH
"""Images between two movements of the bar; whole batches, so that chunks do not change what is computed."""
SHEET = 64
STRIPS, STRIP_FRAMES = 4, 9
WALKERS, WALK_ANCHORS = 9, 4
"""The animation shows nine faces, each on its own loop through four latents."""
FRAME_MS = 60
TILE = 64
"""Smaller images are enlarged to about this many pixels on the sheets."""
FONT_SIZE = 12


def sample(run: Path, settings: dict[str, Any], *, device: str = "cpu") -> SampleJson:
    """Fill `sample/` of a run directory: images.npy, grid.png, strip.png, walk.webp, sample.json (returned).

    `settings` is the sample section of the parameters. A diverged run without a usable generator is a result, not a
    failure: it gets a sample.json with count 0 and the reason, and nothing else.

    Raises: GanealogyError when the run has not been trained to its end, or its weights are absent or damaged.
    """
    trained, out = _read_run(run), run / "sample"
    checkpoint = settings["checkpoint"]
    step: int | None = trained["steps"]
    kimg: float | None = trained["kimg"]
    if checkpoint == "best":
        best = trained["best"]
        step, kimg = (best["step"], best["kimg"]) if best else (None, None)
    record: SampleJson = {
        "version": trained["version"],
        "seed": trained["seed"],
        "checkpoint": checkpoint,
        "step": step,
        "kimg": kimg,
        "count": 0,
        "latent_seed": latents.SAMPLE_SEED,
        "truncation": settings["truncation"],
        "sha256": None,
        "reason": None,
    }
    weights = run / "train" / "weights" / f"generator-{checkpoint}.safetensors"
    if trained["status"] == "diverged" and not weights.exists():
        record["reason"] = f"no {checkpoint} generator was saved before the training diverged"
        return _without_pictures(out, record)

    verify_weights(run, trained, weights.stem)
    generator = load_generator(weights, trained["recipe"], trained["protocol"]).to(device)
    z = (
        latents.sample_latents(trained["recipe"]["latent"], settings["count"], latents.SAMPLE_SEED)
        * settings["truncation"]
    )
    if not _is_finite(generator, z[:BATCH]):
        record["reason"] = f"the {checkpoint} generator's pictures are not finite numbers"
        return _without_pictures(out, record)

    name = f"{trained['version']} seed {trained['seed']}"
    pictures = _generate(generator, z, cycled_labels(generator, len(z)), f"{name} · samples")
    with atomic.writing(out / "images.npy") as file:
        np.save(file, pictures, allow_pickle=False)
    title = f"{trained['version']} · seed {trained['seed']} · {checkpoint}, {record['kimg']:g} kimg"
    save_png(labelled(_sheet(pictures[:SHEET], columns=8), title), out / "grid.png")
    save_png(labelled(_strip(generator, trained, z), title), out / "strip.png")
    _save_walk(generator, trained, settings, out / "walk.webp", f"{name} · walk")
    record |= {"count": len(pictures), "sha256": atomic.sha256(out / "images.npy")}
    atomic.write_json(out / "sample.json", record)
    return record


def labelled(sheet: Image.Image, text: str) -> Image.Image:
    """The sheet under a line of text, which is cut off rather than the sheet widened."""
    font = ImageFont.load_default(FONT_SIZE)
    band = FONT_SIZE + 6
    picture = Image.new(sheet.mode, (sheet.width, sheet.height + band), "white")
    ImageDraw.Draw(picture).text((4, 2), text, fill="black", font=font)
    picture.paste(sheet, (0, band))
    return picture


def _sheet(pictures: Pictures, columns: int) -> Image.Image:
    """A grid of enlarged images: pixels stay square, nothing is smoothed."""
    times = max(1, round(TILE / pictures.shape[1]))
    return grid(pictures.repeat(times, axis=1).repeat(times, axis=2), columns)


def _strip(generator: nn.Module, trained: RunJson, z: torch.Tensor) -> Image.Image:
    """One row a pair of latents, from one to the other; the ends are among the first of the samples."""
    latent = trained["recipe"]["latent"]
    rows = [latents.interpolate(latent, z[[row, row + STRIPS]], STRIP_FRAMES, closed=False) for row in range(STRIPS)]
    labels = cycled_labels(generator, STRIPS).repeat_interleave(STRIP_FRAMES)  # a row keeps its class
    return _sheet(generate(generator, torch.cat(rows), labels), columns=STRIP_FRAMES)


def _save_walk(generator: nn.Module, trained: RunJson, settings: dict[str, Any], path: Path, label: str) -> None:
    """A looping animation: the last frame leads to the first."""
    latent, frames = trained["recipe"]["latent"], settings["walk_frames"]
    anchors = latents.sample_latents(latent, WALKERS * WALK_ANCHORS, latents.SAMPLE_SEED) * settings["truncation"]
    stops = anchors.unflatten(0, (WALKERS, WALK_ANCHORS))
    loops = [latents.interpolate(latent, own, frames, closed=True) for own in stops]
    z = torch.stack(loops, dim=1).flatten(0, 1)  # (frames × walkers, d)
    pictures = _generate(
        generator, z, cycled_labels(generator, WALKERS).repeat(frames), label
    )  # a walker keeps its class
    sheets = [_sheet(moment, columns=3).convert("RGB") for moment in np.split(pictures, frames)]
    with atomic.writing(path) as file:
        sheets[0].save(file, "WEBP", save_all=True, append_images=sheets[1:], duration=FRAME_MS, loop=0, quality=80)


def _generate(generator: nn.Module, z: torch.Tensor, labels: torch.Tensor, label: str) -> Pictures:
    parts = []
    with Progress(label, len(z), "images") as progress:
        for start in range(0, len(z), CHUNK):
            chunk = slice(start, start + CHUNK)
            parts.append(generate(generator, z[chunk], labels[chunk]))
            progress.update(len(parts[-1]))
    return np.concatenate(parts)


@torch.inference_mode()
def _is_finite(generator: nn.Module, z: torch.Tensor) -> bool:
    """Asked before the pictures become bytes, in which a NaN cannot be seen any more."""
    return bool(torch.isfinite(forward(generator, z, cycled_labels(generator, len(z)))).all())


def _without_pictures(out: Path, record: SampleJson) -> SampleJson:
    for name in ("images.npy", "grid.png", "strip.png", "walk.webp"):
        (out / name).unlink(missing_ok=True)  # an earlier attempt's
    atomic.write_json(out / "sample.json", record)
    return record


def _read_run(run: Path) -> RunJson:
    path, hint = run / "train" / "run.json", f"run `dvc repro train@{run.name}`"
    trained: RunJson = read_record(path, hint, ("status", "recipe", "protocol"))
    if trained["status"] not in ("finished", "diverged"):
        raise GanealogyError(f"{path}: the training is {trained['status']}; {hint}")
    return trained
