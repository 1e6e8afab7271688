"""A fabricated project with run directories, and an MLflow store that is created once and copied for each test."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.fake_runs import DATA, cost_json, metrics_json, run_json, sample_json, write_run

from ganealogy.files import atomic, images
from ganealogy.tracking import store
from ganealogy.workspace import RunDir, run_dir, unfinished

RECIPE = {
    "latent": {"size": 8, "distribution": "normal"},
    "generator": {"name": "dcgan", "activation": "relu"},
    "adversary": {"loss": {"name": "hinge", "real_target": 0.9}},
}
PROTOCOL = {"kimg": 0.3, "batch_size": 10, "lr": 2e-4, "width": 4, "image_size": 16, "channels": 3, "tracker": "pixel8"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore deprecations within MLflow; other warnings stay errors."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning"))


def add_tick(directory: RunDir, tick: int) -> None:
    line = {"tick": tick, "step": 10 * tick, "kimg": 0.1 * tick, "fd_pixel8": 300.0 - 50 * tick}
    if tick:
        line |= {"epoch": 0.5 * tick, "d_images": 200 * tick, "d_loss": 1 / tick, "g_loss": None if tick == 2 else 0.5}
    pictures = np.full((4, 16, 16, 3), 20 * tick, np.uint8)
    images.save_png(images.grid(pictures, 2), directory / f"train/grids/{10 * tick:06d}.png")
    with (directory / "train/metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def set_status(directory: RunDir, status: str, **facts: Any) -> None:
    path = directory / "train/run.json"
    content = json.loads(path.read_text())
    atomic.write_json(path, content | {"status": status} | facts)


def make_run(
    root: Path, version: str = "v3", seed: int = 1, status: str = "finished", ticks: int = 3, work: str | None = None
) -> RunDir:
    """Make a run with `ticks` ticks and 4 images per grid; a finished run is sampled and evaluated.

    `work`: its folder in build/wip, of a training that is not in build/runs.
    """
    directory = run_dir(version, seed, root) if work is None else unfinished(root / "build/wip" / work)
    run = run_json(version, seed, status=status, recipe=RECIPE, protocol=PROTOCOL, data=DATA, best=None)
    write_run(directory, run)
    for tick in range(ticks):
        add_tick(directory, tick)
    last = 10 * (ticks - 1)
    if status == "running":
        return directory
    best = {"step": last, "kimg": 0.1 * (ticks - 1), "score": 200.0}
    set_status(directory, status, steps=last, kimg=best["kimg"], best=best)
    write_run(directory, cost=cost_json(12.5, images_per_second=900.0, device_name="a chip"))
    if status == "finished":
        add_weights(directory)
        sample = sample_json(version, seed, step=last, count=16)
        for name in ("grid", "strip"):
            images.save_png(images.grid(np.zeros((4, 16, 16, 3), np.uint8), 2), directory / f"sample/{name}.png")
        metrics = metrics_json(
            version, seed, status=status, metrics={"fd_pixel8": 123.5, "kid_effnet_lite0": 0.25}, protocol={}
        )
        write_run(directory, sample=sample, metrics=metrics)
    return directory


def add_weights(directory: RunDir) -> None:
    import torch
    from safetensors.torch import save

    from ganealogy.networks import _build

    torch.manual_seed(0)
    tensors = _build.generator(RECIPE, PROTOCOL).state_dict()
    for name in ("best", "last"):
        atomic.write_bytes(directory / f"train/weights/generator-{name}.safetensors", save(tensors))


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty mlflow.db; creating one takes seconds."""
    root = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with store.open_client():
            pass
    return root / "mlflow.db"


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project with a plan and data, without store and runs. Its path has a space."""
    root = tmp_path / "a project"
    root.mkdir()
    monkeypatch.chdir(root)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    versions = [
        {
            "name": name,
            "title": f"Title of {name}",
            "idea": "Why it should help.",
            "source": "Author et al. 2016",
            "parent": None if name == "v1" else "v1",
            "listed": name != "v9",
            "seeds": {"v1": [0, 1], "v3": [0, 1], "v9": []}[name],
            "parameters": {"generator": 1000, "discriminator": 500},
        }
        for name in ("v1", "v3", "v9")
    ]
    dataset = {"name": "avatars", "image_size": 16, "style": "adventurer"}
    atomic.write_json(root / "build/plan/tree.json", {"versions": versions, "dataset": dataset})
    manifest = {"dataset": DATA, "url": "https://example.org/faces", "counts": {"train": 90, "holdout": 10}}
    atomic.write_json(root / "data/packed/manifest.json", manifest)
    return root


@pytest.fixture
def project(empty_project: Path, fresh_store: Path) -> Path:
    """A project with an empty store."""
    shutil.copy(fresh_store, empty_project)
    return empty_project


@pytest.fixture
def finished(project: Path) -> RunDir:
    return make_run(project)


def contents(run_id: str) -> dict[str, Any]:
    """Return all that the store has of a run."""
    with store.open_client() as client:
        run = client.get_run(run_id)
        history = {name: client.get_metric_history(run_id, name) for name in run.data.metrics}
        folders = ["", "images", "train", "sample", "evaluate"]
        artifacts = [
            file.path for folder in folders for file in client.list_artifacts(run_id, folder) if not file.is_dir
        ]
        models = client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'")
        return {
            "params": run.data.params,
            "tags": run.data.tags,
            "metrics": {name: [(point.step, point.value) for point in points] for name, points in history.items()},
            "artifacts": sorted(artifacts),
            "models": [model.model_id for model in models],
            "inputs": [entry.dataset.name for entry in run.inputs.dataset_inputs],
            "status": run.info.status,
            "name": run.info.run_name,
        }


@pytest.fixture
def lab() -> SimpleNamespace:
    """The functions of this file for tests, which cannot import conftest."""
    return SimpleNamespace(make_run=make_run, add_tick=add_tick, set_status=set_status, contents=contents, data=DATA)
