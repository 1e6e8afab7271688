"""What a run directory does not say of itself: the plan's words on its version, the data set, experiment and commit."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Dataset
from ganealogy.tracking.run_record import RunRecord, read_json
from ganealogy.workspace import MANIFEST, TREE, run_dir


@dataclass(frozen=True)
class Context:
    root: Path
    tree: dict[str, Any]
    """build/plan/tree.json"""
    manifest: dict[str, Any] | None
    """data/packed/manifest.json; None when the data is not checked out."""

    @classmethod
    def of(cls, tree: dict[str, Any] | None = None, root: Path = Path()) -> Context:
        """Raises: GanealogyError when there is no plan."""
        tree = tree or read_json(root / TREE)
        if tree is None:
            raise GanealogyError(f"{root / TREE}: no plan yet; run `ganealogy plan` first")
        return cls(root, tree, read_json(root / MANIFEST))

    @property
    def data_name(self) -> str:
        """The data set as a person calls it: anime, my-cats (a folder's own name), avatars-lorelei."""
        dataset = self.tree["dataset"]
        name = str(dataset["name"])
        if name == "folder" and dataset.get("path"):
            return Path(dataset["path"]).stem
        style = dataset.get("style", Dataset.model_fields["style"].default)
        other_style = name == "avatars" and style != Dataset.model_fields["style"].default
        return f"{name}-{style}" if other_style else name

    def experiment(self, run: RunRecord | None = None) -> str:
        """One MLflow experiment a data set and size, such as `anime 64×64`: what is in it can be compared."""
        size = (run.run["protocol"] if run else self.tree["dataset"])["image_size"]
        return f"{self.data_name} {size}×{size}"

    def trained_on(self, run: RunRecord) -> bool:
        """Whether the run's data is the one that lies here, so that `data_name` is true of it."""
        return self.manifest is None or run.run.get("data") == self.manifest["dataset"]

    def version(self, name: str) -> dict[str, Any]:
        """The plan's entry of a version; empty for one that the plan has dropped."""
        return next((entry for entry in self.tree["versions"] if entry["name"] == name), {})

    def run_directories(self) -> list[Path]:
        """Of the listed versions, those that have a record."""
        listed = [entry["name"] for entry in self.tree["versions"] if entry["listed"]]
        paths = [run_dir(name, seed, self.root) for name in listed for seed in self.tree["seeds"]]
        return [path for path in paths if (path / "train" / "run.json").exists()]

    @cached_property
    def dvc_experiment(self) -> str | None:
        return os.environ.get("DVC_EXP_NAME") or None

    @cached_property
    def commit(self) -> str | None:
        """The git commit that this stands on: under `dvc exp run` the experiment's baseline. None outside git."""
        if os.environ.get("DVC_EXP_BASELINE_REV"):
            return os.environ["DVC_EXP_BASELINE_REV"]
        try:
            command = ["git", "-C", str(self.root), "rev-parse", "HEAD"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() or None

    def named(self, title: str) -> str:
        return f"{title} · {self.dvc_experiment}" if self.dvc_experiment else title
