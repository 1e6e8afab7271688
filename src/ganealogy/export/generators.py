"""Trained generators by name: of a run, of MLflow's registry, or an ONNX file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganealogy.errors import GanealogyError, one_line
from ganealogy.files import atomic
from ganealogy.files.images import Pictures
from ganealogy.files.integrity import verify_weights
from ganealogy.files.records import read_record
from ganealogy.record_types import Latent
from ganealogy.tracking import best_run, run_record
from ganealogy.tracking.run_record import RunRecord
from ganealogy.workspace import RUNS, VERSION_NAME, run_dir

if TYPE_CHECKING:
    import torch

REGISTERED = "models:/"
ONNX = ".onnx"
FORMS = "a version (v8), a run (v8-2: its seed 2), a model of MLflow's registry (models:/NAME@best), or an .onnx file"


@dataclass(frozen=True)
class Generator:
    """A function from latents to pictures, and what is known of it."""

    name: str
    """Such as v8-2, for file names and titles."""
    latent: Latent
    classes: int
    """0 for an unconditional one."""
    class_names: list[str]
    """May be empty, where classes have only numbers."""
    draw: Callable[[torch.Tensor, torch.Tensor], Pictures]
    """Latents (N, d) and classes (N,) → uint8 (N, H, W, C)."""
    described: dict[str, Any]
    """Where the weights are from, for the manifest."""

    def class_number(self, wanted: str) -> int:
        """Return the number of a class by its name or number.

        Raises: GanealogyError listing the classes.
        """
        if not self.classes:
            raise GanealogyError(f"--class {wanted}: {self.name} has no classes; leave it out")
        if wanted in self.class_names:
            return self.class_names.index(wanted)
        if wanted.isdecimal() and int(wanted) < self.classes:
            return int(wanted)
        known = ", ".join(self.class_names) or f"0 to {self.classes - 1}"
        raise GanealogyError(f"--class {wanted}: {self.name} has no such class; known: {known}")


def find(source: str, root: Path = Path()) -> Generator:
    """Return a generator by name: see FORMS.

    Raises: GanealogyError when there is no such generator, or its weights are absent or damaged.
    """
    if source.startswith(REGISTERED):
        return _of_registry(source)
    if source.endswith(ONNX):
        return _of_onnx(Path(source).expanduser())
    return _of_run(_run(source, root))


def _run(source: str, root: Path) -> RunRecord:
    """Return the run of a name such as v8-2, or the best seed of a version such as v8."""
    version, seed = source, None
    if not (root / RUNS / source).is_dir() and (parts := re.fullmatch(r"(.+)-(\d+)", source)):
        version, seed = parts[1], int(parts[2])
    if not VERSION_NAME.fullmatch(version) or not (root / RUNS / version).is_dir():
        trained = ", ".join(sorted(path.name for path in (root / RUNS).glob("*") if path.is_dir())) or "nothing"
        raise GanealogyError(f"{source!r}: no such generator; give {FORMS}. Trained here: {trained}")
    if seed is not None:
        return run_record.read(run_dir(version, seed, root))
    seeds = [int(path.name) for path in (root / RUNS / version / "train").glob("*") if path.name.isdecimal()]
    found = []
    for each in sorted(seeds):
        record = run_record.read(run_dir(version, each, root))
        score = best_run.score(record)
        if record.weights is not None:
            found.append((float("inf") if score is None else score.value, each, record))
    if not found:
        raise GanealogyError(f"{version}: no training has finished; run `dvc repro train@{version}`")
    return min(found, key=lambda entry: entry[:2])[2]


def _of_run(record: RunRecord) -> Generator:
    if record.weights is None:
        version = record.run["version"]
        raise GanealogyError(
            f"{record.directory}: no generator, the training is {record.status}; run `dvc repro train@{version}`"
        )
    verify_weights(record.directory, record.run, record.weights.stem)
    described = {
        "version": record.run["version"],
        "seed": record.run["seed"],
        "checkpoint": record.checkpoint,
        "kimg": record.reached[1],
    }
    name = f"{record.run['version']}-{record.run['seed']}"
    return _of_weights(name, record.weights, dict(record.run), record.class_names, described)


def _of_weights(
    name: str, weights: Path, run: dict[str, Any], class_names: list[str], described: dict[str, Any]
) -> Generator:
    import torch

    from ganealogy.networks._build import load_generator
    from ganealogy.sampling.generate import generate

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_generator(weights, run["recipe"], run["protocol"]).to(device)
    return Generator(
        name=name,
        latent=run["recipe"]["latent"],
        classes=int(getattr(network, "classes", 0)),
        class_names=class_names,
        draw=lambda z, labels: generate(network, z, labels),
        described={**described, "weights_sha256": atomic.sha256(weights)},
    )


def _of_registry(uri: str) -> Generator:
    """Return the generator of a registered model, from its own copy of the weights."""
    from mlflow import artifacts
    from mlflow.exceptions import MlflowException

    from ganealogy.tracking import store

    try:
        with store.open_client():
            folder = Path(artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, store.StoreError, OSError) as error:
        raise GanealogyError(f"{uri}: {one_line(error)}; `ganealogy ui` shows the registered models") from None
    recipe, weights = (next(folder.rglob(pattern), None) for pattern in ("recipe.json", "*.safetensors"))
    if recipe is None or weights is None:
        raise GanealogyError(f"{uri}: not a model of Ganealogy: it has no recipe.json with weights")
    run = read_record(recipe, "", ("version", "recipe", "protocol", "weights_sha256", "class_names"))
    if atomic.sha256(weights) != run["weights_sha256"]:
        raise GanealogyError(
            f"{uri}: its weights are damaged; delete this model in MLflow's UI, and `ganealogy sync` logs it again"
        )
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", uri.removeprefix(REGISTERED))
    return _of_weights(name, weights, run, run["class_names"], {"model": uri, "version": run["version"]})


def _of_onnx(path: Path) -> Generator:
    from ganealogy.export import onnx_file

    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; `ganealogy export v8 0` writes one")
    session, metadata, inputs = onnx_file.open_model(path)
    try:
        distribution, size = metadata["latents"].split(", ")
        latent: Latent = {"distribution": distribution, "size": int(size)}  # type: ignore[typeddict-item]
        classes, names = int(metadata["classes"]), json.loads(metadata["class_names"])
    except (KeyError, ValueError):
        raise GanealogyError(
            f"{path}: not written by `ganealogy export`: it does not say what its latents and classes are"
        ) from None

    def draw(z: torch.Tensor, labels: torch.Tensor) -> Pictures:
        images = session(*(tensor.numpy() for tensor in (z, labels)[:inputs]))
        levels = np.clip(np.round((images + 1) * 127.5), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))

    described: dict[str, Any] = {
        "onnx": path.name,
        **{key: metadata[key] for key in ("version", "seed", "checkpoint") if key in metadata},
    }
    return Generator(
        path.stem, latent, classes, names, draw, {**described, "weights_sha256": metadata.get("weights_sha256")}
    )
