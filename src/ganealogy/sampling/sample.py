"""Sample a trained generator: an array for the evaluation, and sheets and an animation to look at.

All versions and seeds with the same latent space use the same latents, so that their sheets can be compared. A run's
other sample sets and its other checkpoint show how far its number would move by chance or by the choice of checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from ganealogy.errors import GanealogyError, Remedy
from ganealogy.files import atomic
from ganealogy.files.images import Pictures, grid, save_png
from ganealogy.files.integrity import verify_weights
from ganealogy.files.records import read_record
from ganealogy.networks._build import load_generator
from ganealogy.record_types import OtherSamples, RunJson, SampleJson, SampleSettings
from ganealogy.runtime.progress import Progress
from ganealogy.sampling import latents, standing_statistics
from ganealogy.sampling.class_sheet import class_sheet
from ganealogy.sampling.generate import BATCH, cycled_labels, forward, generate, sample_labels
from ganealogy.workspace import RunDir

CHUNK = 5 * BATCH
"""Images per update of the progress bar: whole batches, so that results do not depend on it."""
SHEET = 64
STRIPS, STRIP_FRAMES = 4, 9
WALKERS, WALK_ANCHORS = 9, 4
"""The animation shows nine images, each on its own closed path through four latents."""
FRAME_MS = 60
FONT_SIZE = 12


def sample(
    run: RunDir, settings: SampleSettings, *, device: str = "cpu", class_names: Sequence[str] = ()
) -> SampleJson:
    """Write images.npy, grid.png, strip.png, walk.webp and sample.json to `sample/` of a run; return sample.json.

    Also images-2.npy and so on, the other sample sets, and images-best.npy with grid-best.png, the first set's latents
    through the checkpoint that is not the measured one (`-last` if `best` is measured); and, of a class-conditional
    generator, classes.png with a row per class. `class_names`: of those rows, where the data set has names.

    `settings` is the `sample` section of params.yaml. A diverged run without a usable generator is a result, not an
    error: it gets only a sample.json with count 0 and the reason.

    Raises: GanealogyError if the training is unfinished, or the weights are absent or damaged.
    """
    trained, out = _read_run(run), run / "sample"
    checkpoint, count = settings["checkpoint"], settings["count"]
    step, kimg = _reached(trained, checkpoint)
    record: SampleJson = {
        "version": trained["version"],
        "seed": trained["seed"],
        "checkpoint": checkpoint,
        "step": step,
        "kimg": kimg,
        "count": 0,
        "latent_seed": latents.sample_seed(0),
        "temperature": settings["temperature"],
        "batch_statistics": settings["batch_statistics"],
        "sha256": None,
        "reason": None,
        "repeats": [],
        "other": None,
    }
    if trained["recipe"]["labels"]:
        record["class_names"] = list(class_names)
    generator = _load(run, trained, checkpoint, settings, device)
    if generator is None:
        record["reason"] = f"no {checkpoint} generator was saved before the training diverged"
        return _without_pictures(out, record)
    z = _latents(trained, settings, 0)
    if not _is_finite(generator, z[:BATCH]):
        record["reason"] = f"the {checkpoint} generator's pictures are not finite numbers"
        return _without_pictures(out, record)

    name = f"{trained['version']} seed {trained['seed']}"
    labels = _labels(trained, count)
    pictures = _generate(generator, z, labels, f"{name} · samples")
    record |= {"count": count, "sha256": _save(out / "images.npy", pictures)}
    for index in range(1, settings["sets"]):
        file = f"images-{index + 1}.npy"
        more = _generate(generator, _latents(trained, settings, index), labels, f"{name} · samples, set {index + 1}")
        seed = latents.sample_seed(index)
        record["repeats"].append({"file": file, "latent_seed": seed, "sha256": _save(out / file, more)})
    title = _title(trained, checkpoint)
    save_png(labelled(grid(pictures[:SHEET], columns=8), title), out / "grid.png")
    save_png(labelled(_strip(generator, trained, z), title), out / "strip.png")
    if getattr(generator, "classes", 0):
        save_png(class_sheet(generator, z, class_names), out / "classes.png")
    _save_walk(generator, trained, settings, out / "walk.webp", f"{name} · walk")
    record["other"] = _sample_other(run, trained, settings, record, z, device)
    atomic.write_json(out / "sample.json", record)
    return record


def _sample_other(
    run: RunDir, trained: RunJson, settings: SampleSettings, record: SampleJson, z: torch.Tensor, device: str
) -> OtherSamples | None:
    """Sample the checkpoint that is not the measured one. Pictures of the same weights are not drawn twice."""
    checkpoint = "last" if record["checkpoint"] == "best" else "best"
    step, kimg = _reached(trained, checkpoint)
    if step is None or kimg is None:
        return None
    file, sha256 = "images.npy", str(record["sha256"])
    known = trained.get("weights", {})  # absent while a recipe is measured
    sums = [known.get(f"generator-{each}") for each in (checkpoint, record["checkpoint"])]
    if None in sums or sums[0] != sums[1]:
        generator = _load(run, trained, checkpoint, settings, device)
        if generator is None or not _is_finite(generator, z[:BATCH]):
            return None
        file = f"images-{checkpoint}.npy"
        label = f"{trained['version']} seed {trained['seed']} · samples of {checkpoint}"
        pictures = _generate(generator, z, _labels(trained, len(z)), label)
        sha256 = _save(run / f"sample/{file}", pictures)
        sheet = labelled(grid(pictures[:SHEET], columns=8), _title(trained, checkpoint))
        save_png(sheet, run / f"sample/grid-{checkpoint}.png")
    return {"checkpoint": checkpoint, "step": step, "kimg": kimg, "file": file, "sha256": sha256}


def _reached(trained: RunJson, checkpoint: str) -> tuple[int | None, float | None]:
    """Return step and kimg of a checkpoint; None for the best one of a training that had no tick."""
    if checkpoint == "last":
        return trained["steps"], trained["kimg"]
    best = trained["best"]
    return (best["step"], best["kimg"]) if best else (None, None)


def _load(run: RunDir, trained: RunJson, checkpoint: str, settings: SampleSettings, device: str) -> nn.Module | None:
    """Return the generator of a checkpoint; None if a diverged training has not saved one.

    Raises: GanealogyError if the weights are absent or damaged.
    """
    weights = run / f"train/weights/generator-{checkpoint}.safetensors"
    if trained["status"] == "diverged" and not weights.exists():
        return None
    verify_weights(run, trained, weights.stem)
    generator = load_generator(weights, trained["recipe"], trained["protocol"]).to(device)
    if settings["batch_statistics"] == "standing":
        z = latents.sample_latents(trained["recipe"]["latent"], standing_statistics.COUNT, latents.STANDING_SEED)
        labels = _labels(trained, len(z))
        standing_statistics.use_standing_statistics(generator, z * settings["temperature"], labels)
    return generator


def _latents(trained: RunJson, settings: SampleSettings, index: int) -> torch.Tensor:
    """Return the latents (count, d) of a sample set."""
    latent, seed = trained["recipe"]["latent"], latents.sample_seed(index)
    return latents.sample_latents(latent, settings["count"], seed) * settings["temperature"]


def _labels(trained: RunJson, count: int) -> torch.Tensor:
    """Return the classes (count,) that samples are drawn for."""
    return sample_labels(trained["class_counts"] if trained["recipe"]["labels"] else None, count)


def _title(trained: RunJson, checkpoint: str) -> str:
    kimg = _reached(trained, checkpoint)[1]
    return f"{trained['version']} · seed {trained['seed']} · {checkpoint}, {kimg:g} kimg"


def _save(path: Path, pictures: Pictures) -> str:
    """Write pictures as an array, and return its sha256."""
    with atomic.writing(path) as file:
        np.save(file, pictures, allow_pickle=False)
    return atomic.sha256(path)


def labelled(sheet: Image.Image, text: str) -> Image.Image:
    """Return the sheet below a line of text, cut off at the sheet's width."""
    font = ImageFont.load_default(FONT_SIZE)
    band = FONT_SIZE + 6
    picture = Image.new(sheet.mode, (sheet.width, sheet.height + band), "white")
    ImageDraw.Draw(picture).text((4, 2), text, fill="black", font=font)
    picture.paste(sheet, (0, band))
    return picture


def _strip(generator: nn.Module, trained: RunJson, z: torch.Tensor) -> Image.Image:
    """Return interpolations, one row per pair of the first samples' latents."""
    latent = trained["recipe"]["latent"]
    rows = [latents.interpolate(latent, z[[row, row + STRIPS]], STRIP_FRAMES, closed=False) for row in range(STRIPS)]
    labels = cycled_labels(generator, STRIPS).repeat_interleave(STRIP_FRAMES)  # one class per row
    return grid(generate(generator, torch.cat(rows), labels), columns=STRIP_FRAMES)


def _save_walk(generator: nn.Module, trained: RunJson, settings: SampleSettings, path: Path, label: str) -> None:
    """Write a looping animation: the last frame leads to the first."""
    latent, frames = trained["recipe"]["latent"], settings["walk_frames"]
    z = latents.sample_latents(latent, WALKERS * WALK_ANCHORS, latents.SAMPLE_SEED) * settings["temperature"]
    anchor_sets = z.reshape(WALKERS, WALK_ANCHORS, -1)
    loops = [latents.interpolate(latent, anchors, frames, closed=True) for anchors in anchor_sets]
    z = torch.stack(loops, dim=1).flatten(0, 1)  # (frames × walkers, d)
    labels = cycled_labels(generator, WALKERS).repeat(frames)  # one class per walker
    pictures = _generate(generator, z, labels, label)
    sheets = [grid(frame, columns=3).convert("RGB") for frame in np.split(pictures, frames)]
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
    """Check the generator's floats, because uint8 pictures cannot hold NaN."""
    return bool(torch.isfinite(forward(generator, z, cycled_labels(generator, len(z)))).all())


def _without_pictures(out: Path, record: SampleJson) -> SampleJson:
    for path in [*out.glob("*.npy"), *out.glob("*.png"), *out.glob("*.webp")]:  # of an earlier attempt
        path.unlink()
    atomic.write_json(out / "sample.json", record)
    return record


def _read_run(run: RunDir) -> RunJson:
    path, remedy = run / "train/run.json", Remedy(f"train@{run.version}")
    trained: RunJson = read_record(path, remedy, kind=RunJson)
    if trained["status"] not in ("finished", "stopped", "diverged"):
        raise GanealogyError(f"{path}: the training is {trained['status']}; {remedy.damaged}")
    return trained
