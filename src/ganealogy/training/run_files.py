"""The run directory's `train/`: what a training leaves for people, for later stages and for MLflow.

run.json says what was trained and how it ended, metrics.jsonl has a line a tick, grids/ a picture a tick of the same 64
latents, weights/ the generators.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as dump_tensors

from ganealogy.files import atomic, images
from ganealogy.files.images import Pictures

GRID_COLUMNS = 8


class RunFiles:
    def __init__(self, directory: Path, facts: dict[str, Any]) -> None:
        """`facts`: what stays the same through the training (version, seed, plan, data, recipe, …)."""
        self.directory, self.facts = directory, facts
        self.metrics = directory / "metrics.jsonl"

    def status(self, status: str, **facts: Any) -> dict[str, Any]:
        """Write run.json; returns what it holds."""
        content = {**self.facts, "status": status, **facts}
        atomic.write_json(self.directory / "run.json", content)
        return content

    def rewind(self, ticks: int) -> None:
        """Forget what was recorded after the `ticks`-th tick: a resumed training records it again."""
        lines = self.metrics.read_text().splitlines(keepends=True)[:ticks] if self.metrics.exists() else []
        atomic.write_text(self.metrics, "".join(lines))

    def tick(self, line: dict[str, Any], pictures: Pictures) -> None:
        """Append a line of metrics; `pictures`: uint8 (64, H, W, C). NaN has no JSON: it is written as null."""
        images.save_png(images.grid(pictures, GRID_COLUMNS), self.directory / "grids" / f"{line['step']:06d}.png")
        finite = {key: None if value != value else value for key, value in line.items()}
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def weights(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """A network's state dict as weights/<name>.safetensors."""
        dense = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in sorted(tensors.items())}
        atomic.write_bytes(self.directory / "weights" / f"{name}.safetensors", dump_tensors(dense))
