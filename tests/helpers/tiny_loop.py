"""Trainings of a few tiny steps, for tests of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.training import loop
from ganealogy.training.run_files import RunFiles

PROTOCOL = {
    "kimg": 0.192,
    "batch_size": 8,
    "width": 4,
    "precision": "fp32",
    "ticks": 4,
    "tracker": "pixel8",
    "tracker_images": 32,
    "image_size": 16,
    "channels": 3,
}
STEPS = 24


EVERYTHING: dict[str, Any] = {
    "penalties": ["lecam", "bcr", "dragan"],
    "augment": [{"name": "ada", "share": 0.3, "interval": 1}, "instance_noise"],
}
KINDS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("v1", "v2", "v6", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16")},
    "mnist-dcgan": {"image_size": 28, "channels": 1},
    "mnist-mlp": {"image_size": 28, "channels": 1},
    "celeba-dcgan": {"image_size": 32},
    "v14": {"image_size": 32},
    "v19": {},
    "flow": {},
    "fastgan": {},
    "stylegan2": {},
    "v1 tf32": {"precision": "tf32"},
    "v1 bf16": {"precision": "bf16"},
    "v10 bf16": {"precision": "bf16"},
    "v16 bf16": {"precision": "bf16"},
    "stylegan2 bf16": {"precision": "bf16"},
    "v7 everything": {"changes": {"adversary": EVERYTHING, "discriminator": {"norm": "none"}}},
}
"""Versions and protocols that differ in what their steps do, for tests of a single step."""


class Silent:
    """Callbacks that keep the warnings, and the signs of trouble, and stop the training after a given step.

    Trainings of a few steps are `slow`, among others.
    """

    def __init__(self, steps: int = STEPS) -> None:
        self.warnings: list[str] = []
        self.signs: list[str] = []
        self.steps, self.calls = steps, 0
        self.stop_after: int | None = None

    def should_stop(self) -> bool:
        self.calls += 1
        return self.stop_after is not None and self.calls >= self.stop_after

    def on_start(self, step: int, steps: int) -> None:
        assert steps == self.steps

    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...

    def on_warning(self, text: str) -> None:
        (self.signs if " kimg: " in text else self.warnings).append(text)


def plan(version: str, changes: dict[str, Any] | None = None, **protocol: Any) -> dict[str, Any]:
    """`changes`: made to the version's recipe."""
    changed = recipes.check(recipes.merge(read_family([version])[version].recipe, changes or {}), version)
    whole = {**PROTOCOL, **protocol}
    recipe = recipes.resolve_latent(recipes.complete(changed, version), whole["channels"], whole["image_size"])
    return {"recipe": recipes.resolve_rates(recipe, 2e-4), "protocol": whole}


def plan_of_kind(kind: str) -> dict[str, Any]:
    """Return the plan of one of KINDS."""
    options = dict(KINDS[kind])
    return plan(kind.split()[0], options.pop("changes", None), **options)


def train(
    where: Path,
    pictures: np.ndarray,
    version: str = "v1",
    stop_after: int | None = None,
    callbacks: Silent | None = None,
    planned: dict[str, Any] | None = None,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> loop.Outcome:
    planned = planned or plan(version)
    callbacks = callbacks or Silent(loop.step_count(planned["protocol"]))
    callbacks.stop_after = stop_after
    files = RunFiles(where / "train", where / "checkpoints", {"version": version, "seed": 7})
    held_out, held_out_labels = pictures[:40, :, ::-1], None if labels is None else labels[:40]
    data = loop.TrainingData(pictures, labels, held_out, held_out_labels)
    return loop.train(planned, 7, data, files, device, callbacks)


def record(where: Path) -> dict[str, bytes]:
    return {str(p.relative_to(where)): p.read_bytes() for p in sorted((where / "train").rglob("*")) if p.is_file()}
