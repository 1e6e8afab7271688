"""Generate pictures into a folder: PNGs named by their seeds, a sheet, and a manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.export.generators import Generator
from ganealogy.files import atomic
from ganealogy.files.images import grid, save_png
from ganealogy.runtime.progress import Progress

MANIFEST, SHEET = "manifest.json", "sheet.png"
SHOWN, COLUMNS = 64, 8
"""Pictures of the sheet."""


def write(generator: Generator, out: Path, count: int, seed: int, label: int | None, temperature: float) -> Path:
    """Write `count` pictures of the seeds from `seed` on into `out`; return the sheet.

    Each picture is generated alone from its own seed, so it is the same in any number. `label`: its class; None takes
    the classes in turn, by seed. `temperature` scales the latents.

    Raises: GanealogyError if `out` has files of something else.
    """
    import torch

    from ganealogy.sampling.latents import sample_latents

    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise GanealogyError(f"{out} has files of something else: name a new folder")
    records: list[dict[str, object]] = []
    shown: list[np.ndarray] = []
    digits = max(6, len(str(seed + count - 1)))
    with Progress(f"{generator.name} → {out}", count, "pictures") as progress:
        for each in range(seed, seed + count):
            number = each % generator.classes if generator.classes and label is None else label or 0
            z = sample_latents(generator.latent, 1, each) * temperature
            picture = generator.draw(z, torch.tensor([number]))[0]
            name = f"seed{each:0{digits}d}"
            record: dict[str, object] = {"file": f"{name}.png", "seed": each}
            if generator.classes:
                names = generator.class_names
                record |= {"class": names[number] if names else number}
            records.append(record)
            image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
            save_png(image, out / str(record["file"]))
            if len(shown) < SHOWN:
                shown.append(picture)
            progress.update(1)
    save_png(grid(np.stack(shown), columns=min(COLUMNS, len(shown))), out / SHEET)
    content = {**generator.described, "temperature": temperature, "latents": generator.latent, "pictures": records}
    atomic.write_json(out / MANIFEST, content)
    return out / SHEET
