"""A small project with runs of a tiny generator, and the files that the live page shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_runs import DATA, metrics_json, run_json, sample_json, write_run

from ganealogy.files import atomic
from ganealogy.workspace import RunDir, run_dir

PROTOCOL = {"kimg": 1.0, "batch_size": 8, "image_size": 32, "channels": 3, "width": 8, "tracker": "pixel8"}
Make = Callable[..., RunDir]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    entry = {"title": "<script>alert(1)</script>", "listed": True, "parameters": {}, "seeds": [0, 1]}
    versions = [{"name": name, **entry} for name in ("v1", "v2")]
    dataset = {"name": "anime", "image_size": 32}
    atomic.write_json(tmp_path / "build/plan/tree.json", {"versions": versions, "dataset": dataset})
    manifest = {"dataset": DATA, "counts": {"train": 9, "holdout": 1}, "title": "Faces", "licence": "CC0"}
    atomic.write_json(tmp_path / "data/packed/manifest.json", manifest)
    return tmp_path


@pytest.fixture
def make_run(project: Path) -> Make:
    """make_run(version, seed, network, fd, classes=…, latent=…) → its folders."""

    def make(
        version: str = "v1",
        seed: int = 0,
        network: str = "dcgan",
        fd: float | None = 100.0,
        best: float = 100.0,
        distribution: str = "normal",
        latent: int = 8,
        classes: int = 0,
        class_names: Sequence[str] = (),
        **options: Any,
    ) -> RunDir:
        import torch
        from safetensors.torch import save

        from ganealogy.networks import _build

        recipe = {
            "latent": {"size": latent, "distribution": distribution},
            "generator": {"name": network, **options},
            "labels": bool(classes),
        }
        protocol = {**PROTOCOL, "classes": classes}
        torch.manual_seed(seed)
        generator = _build.generator(recipe, protocol).train()
        labels = (torch.arange(16) % max(classes, 1),) if classes else ()
        with torch.no_grad():
            for parameter in generator.parameters():  # no zero layers, so that each affects the images
                parameter.add_(torch.randn_like(parameter) * 0.05)
            for _ in range(20):  # fill BatchNorm's statistics
                generator(torch.randn(16, latent), *labels)
        directory = run_dir(version, seed, project)
        weights = save({name: tensor.contiguous().clone() for name, tensor in generator.state_dict().items()})
        atomic.write_bytes(directory / "train/weights/generator-last.safetensors", weights)
        checkpoint = {"step": 9, "kimg": 0.5, "score": best}
        run = run_json(version, seed, recipe=recipe, protocol=protocol, data=DATA, best=checkpoint, steps=9, kimg=0.5)
        metrics = None if fd is None else metrics_json(version, seed, metrics={"fd_pixel8": fd}, protocol={})
        sample = {"checkpoint": "last", "step": 9, "kimg": 0.5, "class_names": list(class_names)}
        return write_run(directory, run, sample_json(version, seed, **sample) if class_names else None, metrics)

    return make
