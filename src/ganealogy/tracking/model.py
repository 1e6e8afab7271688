"""The generator as a model that `mlflow.pyfunc.load_model` and `mlflow models serve` take, without pickle."""

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


def log_generator(client: MlflowClient, there: Run, run: RunRecord, context: Context) -> tuple[LoggedModel | None, int]:
    """Log the generator that the samples come from, unless it is there; of other weights or half-logged is deleted.

    Returns the logged model, None when there is no generator, and how many are new.
    """
    import mlflow

    from ganealogy.files.integrity import (
        verify_weights,  # a training imports this module, and only what it computes with
    )

    if run.weights is None:
        return None, 0
    verify_weights(run.directory, run.run, run.weights.stem)
    weights = atomic.sha256(run.weights)
    whole: LoggedModel | None = None
    for known in client.search_logged_models(
        [there.info.experiment_id], filter_string=f"source_run_id = '{there.info.run_id}'"
    ):
        if known.status == "READY" and (known.params or {}).get("weights_sha256") == weights and whole is None:
            whole = known
        else:
            client.delete_logged_model(known.model_id)
    if whole is not None:
        return whole, 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hints on type hints and input examples: the signature says it all
        recipe = Path(folder) / "recipe.json"
        atomic.write_json(recipe, {name: run.run[name] for name in ("version", "recipe", "protocol")})
        with mlflow.start_run(run_id=there.info.run_id, log_system_metrics=False):
            logged = mlflow.pyfunc.log_model(
                name=NAME,
                python_model=str(SCRIPT),
                artifacts={"weights": str(run.weights), "recipe": str(recipe)},
                code_paths=[str(_code(Path(folder)))],
                signature=_signature(run),
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
                params={"weights_sha256": weights, "version": run.run["version"], "seed": run.run["seed"]},
                tags={"version": str(run.run["version"]), "seed": str(run.run["seed"]), "dataset": context.data_name},
                step=int(run.run["best"]["step"]) if run.run.get("best") else 0,
            )
    return client.get_logged_model(logged.model_id), 1


def _signature(run: RunRecord) -> ModelSignature:
    """No input schema: MLflow has none for "latents, or an empty list", and a tensor's would refuse the latter."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    protocol = run.run["protocol"]
    shape = (-1, protocol["image_size"], protocol["image_size"], protocol["channels"])
    return ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.uint8), shape)]),
        params=ParamSchema(
            [ParamSpec("n", "long", 16), ParamSpec("seed", "long", 0), ParamSpec("truncation", "double", 1.0)]
        ),
    )


def _code(folder: Path) -> Path:
    """A copy of the modules that a generator needs, so that the model loads where Ganealogy is not installed."""
    package = Path(__file__).parent.parent
    copy = folder / package.name
    copy.mkdir()
    for module in package.glob("*.py"):
        shutil.copy(module, copy)
    for name in ("files", "networks", "runtime", "sampling"):
        shutil.copytree(package / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy
