"""The generator as an MLflow model from code: MLflow runs this file when it logs or loads the model.

It avoids pickle, and imports torch only when the model is used.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

MAX_PICTURES = 10_000
MAX_VALUES = 2**26
"""Of one answer: pixels times channels. As JSON they take up to 1 GB."""
MAX_TEMPERATURE = 10.0
MAX_LATENT = 1000.0
REMEDY = "delete this model in the MLflow UI; `ganealogy sync` then logs it again"


class Generator(PythonModel):
    """Map latents (N, d), or an empty list, to uint8 images (N, H, W, C)."""

    def load_context(self, context: Any) -> None:
        """Raises: GanealogyError when the weights are not those that the run wrote."""
        from ganealogy.errors import GanealogyError
        from ganealogy.files import atomic
        from ganealogy.networks._build import load_generator

        content = json.loads(Path(context.artifacts["recipe"]).read_text(encoding="utf-8"))
        weights = Path(context.artifacts["weights"])
        if not weights.is_file() or atomic.sha256(weights) != content["weights_sha256"]:
            raise GanealogyError(
                f"{weights}: absent, or its sha256 is not that of the weights that the run wrote; {REMEDY}"
            )
        protocol = content["protocol"]
        self.latent = content["recipe"]["latent"]
        self.limit = max(1, min(MAX_PICTURES, MAX_VALUES // (protocol["image_size"] ** 2 * protocol["channels"])))
        self.network = load_generator(weights, content["recipe"], protocol)

    # MLflow derives no schema from the type np.ndarray, so it accepts an empty list and None.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """Return images of the given latents, or of `n` latents drawn from `seed`, each scaled by `temperature`.

        Raises: MlflowException, which the server answers with 400, when an input or a parameter is not legal.
        """
        import torch

        from ganealogy.sampling.generate import generate
        from ganealogy.sampling.latents import sample_latents

        given = {name: value for name, value in (params or {}).items() if value is not None}
        params = {"n": 16, "seed": 0, "temperature": 1.0} | given
        temperature = params["temperature"]
        _check("temperature", temperature, 0 <= temperature <= MAX_TEMPERATURE, f"0 to {MAX_TEMPERATURE:g}")
        latents = self._latents(model_input)
        if latents.size:
            z = torch.from_numpy(latents)
        else:
            _check("n", params["n"], 1 <= params["n"] <= self.limit, f"1 to {self.limit}")
            _check("seed", params["seed"], 0 <= params["seed"] < 2**63, "0 to 2**63 - 1")
            z = sample_latents(self.latent, int(params["n"]), int(params["seed"]))
        return generate(self.network, z * temperature)

    def _latents(self, given: Any) -> np.ndarray:
        """Return float32 (N, d), or an empty array for an empty list."""
        legal = f"an empty list, or a list of at most {self.limit} latents of {self.latent['size']} numbers each"
        try:
            with np.errstate(over="ignore"):
                latents = np.asarray([] if given is None else given, dtype=np.float32)
        except (TypeError, ValueError):
            raise MlflowException.invalid_parameter_value(f"inputs: not numbers; legal: {legal}") from None
        if latents.size:
            shape_is_right = latents.ndim == 2 and latents.shape[1] == self.latent["size"]
            _check("the shape of inputs", latents.shape, shape_is_right and len(latents) <= self.limit, legal)
            largest = float(np.abs(latents).max())  # NaN if one is
            is_small = math.isfinite(largest) and largest <= MAX_LATENT
            _check("the largest value of inputs", largest, is_small, f"-{MAX_LATENT:g} to {MAX_LATENT:g}")
        return latents


def _check(name: str, value: object, is_legal: bool, legal: str) -> None:
    """Raises: MlflowException (INVALID_PARAMETER_VALUE)."""
    if not is_legal:
        raise MlflowException.invalid_parameter_value(f"{name} = {value!r}; legal: {legal}")


set_model(Generator())
