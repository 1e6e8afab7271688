"""Log the generator as a model for `mlflow.pyfunc.load_model` and `mlflow models serve`, without pickle."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ganealogy.files import atomic
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import ModelSignature

NAME = "generator"
SCRIPT = Path(__file__).with_name("generator_script.py")
REQUIREMENTS = ("mlflow", "torch", "numpy", "pillow", "safetensors", "annotated-types")


def log_generator(
    client: MlflowClient, mlflow_run: Run, record: RunRecord, context: Context
) -> tuple[LoggedModel | None, int]:
    """Log the generator of the samples unless it is logged; delete models that are incomplete or have other weights.

    Returns the logged model, or None if the run has no generator, and the number of new models.
    """
    import mlflow
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # Lazy: a training imports this module, and its fingerprint has only what it computes with.
    from ganealogy.files.integrity import verify_weights

    if record.weights is None:
        return None, 0
    verify_weights(record.directory, record.run, record.weights.stem)
    weights = atomic.sha256(record.weights)
    current: LoggedModel | None = None
    for model in client.search_logged_models(
        [mlflow_run.info.experiment_id], filter_string=f"source_run_id = '{mlflow_run.info.run_id}'"
    ):
        same_weights = (model.params or {}).get("weights_sha256") == weights
        is_whole = model.status == "READY" and bool(get_artifact_repository(model.artifact_location).list_artifacts())
        if is_whole and same_weights and current is None:
            current = model
        else:
            client.delete_logged_model(model.model_id)
    if current is not None:
        return current, 0
    run = record.run
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow suggests type hints and an input example; the signature replaces them
        recipe = Path(folder) / "recipe.json"
        contents = {name: run[name] for name in ("version", "recipe", "protocol")}
        atomic.write_json(recipe, {**contents, "weights_sha256": weights, "class_names": record.class_names})
        # MLflow refuses links, which DVC makes with `cache.type symlink`.
        copy = Path(shutil.copyfile(record.weights, Path(folder) / record.weights.name))
        with mlflow.start_run(run_id=mlflow_run.info.run_id, log_system_metrics=False):
            logged = mlflow.pyfunc.log_model(
                name=NAME,
                python_model=str(SCRIPT),
                artifacts={"weights": str(copy), "recipe": str(recipe)},
                code_paths=[str(_copy_code(Path(folder)))],
                signature=_signature(record),
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
                params={"weights_sha256": weights, "version": run["version"], "seed": run["seed"]},
                tags={"version": str(run["version"]), "seed": str(run["seed"]), "dataset": context.data_name},
                step=record.reached[0],
            )
    return client.get_logged_model(logged.model_id), 1


def _signature(record: RunRecord) -> ModelSignature:
    """Return a signature without an input schema: MLflow has none for "latents, or an empty list"."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    protocol = record.run["protocol"]
    shape = (-1, protocol["image_size"], protocol["image_size"], protocol["channels"])
    return ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.uint8), shape)]),
        params=ParamSchema(
            [ParamSpec("n", "long", 16), ParamSpec("seed", "long", 0), ParamSpec("temperature", "double", 1.0)]
        ),
    )


def _copy_code(folder: Path) -> Path:
    """Copy the modules that a generator needs, so that the model loads without an installed ganealogy."""
    package = Path(__file__).parent.parent
    copy = folder / package.name
    copy.mkdir()
    for module in package.glob("*.py"):
        shutil.copy(module, copy)
    for name in ("files", "networks", "runtime", "sampling"):
        shutil.copytree(package / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy
