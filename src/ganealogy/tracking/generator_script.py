"""The generator as an MLflow model. MLflow runs this file when it logs and when it loads one (models from code): no
pickle, and torch is imported only when the model is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Generator(PythonModel):
    """Latents (N, d), or nothing, in → uint8 images (N, H, W, C) out."""

    def load_context(self, context: Any) -> None:
        from ganealogy.networks._build import load_generator

        facts = json.loads(Path(context.artifacts["recipe"]).read_text(encoding="utf-8"))
        self.latent = facts["recipe"]["latent"]
        self.network = load_generator(context.artifacts["weights"], facts["recipe"], facts["protocol"])

    # An array is also the hint that MLflow makes no schema of: an empty list, or None, is let through.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """With latents, their images; without, `n` images drawn from `seed`. Latents are scaled by `truncation`."""
        import torch

        from ganealogy.sampling.generate import generate
        from ganealogy.sampling.latents import sample_latents

        params = params or {}
        given = np.asarray([] if model_input is None else model_input, dtype=np.float32)
        if given.size and given.shape[1:] != (self.latent["size"],):
            raise ValueError(f"latents of shape {given.shape}; expected (N, {self.latent['size']})")
        z = (
            torch.from_numpy(given)
            if given.size
            else sample_latents(self.latent, params.get("n", 16), params.get("seed", 0))
        )
        return generate(self.network, z * params.get("truncation", 1.0))


set_model(Generator())
