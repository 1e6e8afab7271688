"""The generator as an MLflow model from code: MLflow runs this file when it logs or loads the model.

It avoids pickle, and imports torch only when the model is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Generator(PythonModel):
    """Map latents (N, d), or an empty list, to uint8 images (N, H, W, C)."""

    def load_context(self, context: Any) -> None:
        from ganealogy.networks._build import load_generator

        content = json.loads(Path(context.artifacts["recipe"]).read_text(encoding="utf-8"))
        self.latent = content["recipe"]["latent"]
        self.network = load_generator(context.artifacts["weights"], content["recipe"], content["protocol"])

    # MLflow derives no schema from the type np.ndarray, so it accepts an empty list and None.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """Return images of the given latents, or of `n` latents drawn from `seed`, each scaled by `temperature`."""
        import torch

        from ganealogy.sampling.generate import generate
        from ganealogy.sampling.latents import sample_latents

        params = params or {}
        latents = np.asarray([] if model_input is None else model_input, dtype=np.float32)
        if latents.size and latents.shape[1:] != (self.latent["size"],):
            raise ValueError(f"latents of shape {latents.shape}; expected (N, {self.latent['size']})")
        z = (
            torch.from_numpy(latents)
            if latents.size
            else sample_latents(self.latent, params.get("n", 16), params.get("seed", 0))
        )
        return generate(self.network, z * params.get("temperature", 1.0))


set_model(Generator())
