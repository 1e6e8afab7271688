"""Train one version on an array of pictures, without a project: no DVC, no params.yaml, no MLflow."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganealogy.errors import GanealogyError
from ganealogy.files.records import read_record
from ganealogy.lineage.versions import read_family
from ganealogy.params import schema
from ganealogy.record_types import VersionPlan
from ganealogy.stages import plan as plans
from ganealogy.stages._training_progress import TrainingProgress

ARGUMENTS = "the arguments"
"""Where a wrong setting is, for messages."""


def prepare(folder: Path, dataset: dict[str, Any]) -> Path:
    """Download or draw the pictures of a dataset section into folder/raw. Preprocess, and return, folder/packed."""
    from ganealogy.data import download, preprocess

    settings = schema.parse(schema.Dataset, dataset, ARGUMENTS, "dataset").model_dump()
    download.download(settings, folder / "raw")
    preprocess.preprocess(settings, folder / "raw", folder / "packed")
    return folder / "packed"


def make_plan(version: str, image_size: int, channels: int, train: dict[str, Any]) -> VersionPlan:
    """Return the plan of a version. `train`: keys of that section of params.yaml.

    Raises: GanealogyError for unknown versions, illegal values, and a size that a network does not support.
    """
    content = {
        "dataset": {"name": "avatars", "image_size": image_size, "channels": channels},
        "tree": {"versions": [version], "seeds": [0]},
        "train": train,
    }
    settings = schema.parse(schema.Settings, content, ARGUMENTS)
    member = read_family([version])[version]
    recipe = plans.complete(member, settings)
    plans.count_parameters(recipe, settings, member.path)  # raises
    return plans.version_plan(member, recipe, settings)


def train(
    version: str, pictures: NDArray[np.uint8], folder: Path, seed: int, device: str, settings: dict[str, Any]
) -> None:
    """Train in `folder`, or resume what is there.

    Raises: GanealogyError when the folder holds a training with other settings or pictures.
    """
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles

    shape = pictures.shape
    if pictures.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
        raise GanealogyError(f"pictures: {pictures.dtype} {shape}: give square ones, uint8 (N, H, H, 1 or 3)")
    plan = make_plan(version, shape[1], shape[3], settings)
    if "from" in plan:
        source = plan["from"]["plan"]["version"]
        raise GanealogyError(f"{version} starts from a training of {source}, which a store has: train it in a project")
    pixels = np.ascontiguousarray(pictures)
    identity = {
        "version": version,
        "seed": seed,
        "recipe": plan["recipe"],
        "protocol": plan["protocol"],
        "data": hashlib.sha256(pixels.data).hexdigest(),
    }
    _check_same(folder, identity)
    progress = TrainingProgress(f"{version} seed {seed}", plan["protocol"]["batch_size"])
    files = RunFiles(folder, folder / "checkpoints", identity)
    try:
        loop.train(plan, seed, loop.TrainingData(pixels), files, device, progress)
    finally:
        progress.close()


def _check_same(folder: Path, identity: dict[str, Any]) -> None:
    """Raises: GanealogyError when `folder` holds another training."""
    path = folder / "run.json"
    if not path.exists():
        return
    before = read_record(path, f"remove {folder}, or name another folder")
    if changed := [key for key, value in identity.items() if before.get(key) != value]:
        raise GanealogyError(
            f"{folder}: holds a training with another {' and '.join(changed)}: name another folder, or remove it"
        )
