"""Profiles of the fuzz tests: the same few examples in each run, or many new ones under `make soak`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import trainings
from hypothesis import HealthCheck, settings
from PIL import Image

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
settings.register_profile(
    "ci", max_examples=30, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW
)
settings.register_profile("soak", max_examples=3000, deadline=None, database=None, suppress_health_check=SLOW)
settings.load_profile("soak" if os.environ.get("GANEALOGY_SOAK") else "ci")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 90 pictures of a folder in which all stages have run once, without the sync to MLflow."""
    folder = tmp_path_factory.mktemp("finished") / "a workspace"
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(90):
        ramp = np.linspace(0, 200, 16)[:, None, None] * rng.random(3) + rng.random((16, 16, 3)) * 50
        Image.fromarray(ramp.astype(np.uint8)).save(pictures / f"{index}.png")
    (folder / "versions").symlink_to(trainings.ROOT / "versions")
    shutil.copy(trainings.ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(
        "dataset: {name: folder, path: pictures, image_size: 16, holdout: 0.2}\n"
        "tree: {versions: [v1], seeds: [0]}\n"
        "train: {kimg: 0.032, batch_size: 8, lr: 0.0002, width: 4, ticks: 2, tracker_images: 32, device: cpu, "
        "threads: 1}\n"
        "sample: {count: 50, walk_frames: 8}\n"
        "evaluate: {extractors: [pixel8], lead: fd_pixel8, reals: 64}\n"
    )
    for verb in ("plan", "download", "preprocess", "reference", "train v1", "sample v1", "evaluate v1"):
        code, said = trainings.run(trainings.verb, folder, *verb.split())
        assert code == 0, f"{verb}: {said}"
    code, said = trainings.run(trainings.report, folder)
    assert code == 0, said
    return folder


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished workspace, to damage."""
    copy = tmp_path / "my work"
    shutil.copytree(finished, copy, symlinks=True)
    return copy
