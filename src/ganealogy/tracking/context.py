"""What MLflow shows of a run and its directory lacks: the plan's entry, the data set, the experiment, the commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganealogy.errors import Remedy
from ganealogy.files.records import read_record
from ganealogy.params.schema import Dataset
from ganealogy.record_types import ManifestJson
from ganealogy.tracking.outcome import Outcome
from ganealogy.tracking.run_record import RunRecord, read_json
from ganealogy.tracking.run_record import read as read_run
from ganealogy.tree_types import RunsOfTree, TreeJson
from ganealogy.workspace import MANIFEST, TREE, RunDir, run_dir


@dataclass(frozen=True)
class Context:
    root: Path
    tree: TreeJson
    """build/plan/tree.json"""
    manifest: ManifestJson | None
    """data/packed/manifest.json; None when the data is not checked out."""
    outcome: Outcome | None = None
    """None where it is not read, such as during a training."""

    @classmethod
    def load(cls, tree: TreeJson | None = None, root: Path = Path()) -> Context:
        """Read the files under `root`; `tree` replaces its tree.json.

        Raises: GanealogyError when there is no plan, or it is damaged or of an older release.
        """
        tree = tree or read_record(root / TREE, Remedy("plan"), ("versions", "dataset"), RunsOfTree)
        return cls(root, tree, read_json(root / MANIFEST, Remedy("preprocess"), ("dataset",), ManifestJson))

    @property
    def data_name(self) -> str:
        """The data set's name for people: anime, my-cats (the name of a folder), avatars-lorelei."""
        dataset = self.tree["dataset"]
        name = str(dataset["name"])
        if name == "folder" and (path := dataset.get("path")):
            folder = Path(path).expanduser().resolve()
            return (folder.stem if folder.suffix.lower() == ".zip" else folder.name) or name
        default_style = Dataset.model_fields["style"].default
        style = dataset.get("style", default_style)
        return f"{name}-{style}" if name == "avatars" and style != default_style else name

    def data(self, record: RunRecord | None = None) -> str:
        """Return the digest of the run's pictures, or of data/packed, or of the first listed run; empty if none."""
        if record is None and self.manifest is None:
            return next((str(read_run(run).run.get("data")) for run in self.run_directories()), "")
        return str(record.run.get("data") if record else self.manifest and self.manifest["dataset"])

    def experiment(self, record: RunRecord | None = None) -> str:
        """Return the name for people of an MLflow experiment, such as `anime 64×64`; `data` identifies it.

        `record`: the run whose size counts; None takes the plan's.
        """
        size = (record.run["protocol"] if record else self.tree["dataset"])["image_size"]
        return f"{self.data_name} {size}×{size}"

    def has_data_of(self, record: RunRecord) -> bool:
        """Whether the run was trained on the data in data/packed. True if that is not checked out."""
        return self.manifest is None or record.run.get("data") == self.manifest["dataset"]

    def version(self, name: str) -> Mapping[str, Any]:
        """Return the plan's entry of a version; empty if the plan no longer has it."""
        entries = {entry["name"]: entry for entry in self.tree["versions"]}
        return entries.get(name, {})

    def run_directories(self) -> list[RunDir]:
        """Return the runs of listed versions that have a run.json."""
        runs = [run_dir(entry["name"], seed, self.root) for entry in self.tree["versions"] for seed in entry["seeds"]]
        return [run for run in runs if (run / "train/run.json").exists()]

    @cached_property
    def dvc_experiment(self) -> str | None:
        return os.environ.get("DVC_EXP_NAME") or None

    @cached_property
    def commit(self) -> str | None:
        """The current git commit; under `dvc exp run` the experiment's baseline. None outside git."""
        if os.environ.get("DVC_EXP_BASELINE_REV"):
            return os.environ["DVC_EXP_BASELINE_REV"]
        try:
            command = ["git", "-C", str(self.root), "rev-parse", "HEAD"]
            result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() or None

    def with_experiment(self, title: str) -> str:
        """Append the name of the DVC experiment, if there is one."""
        return f"{title} · {self.dvc_experiment}" if self.dvc_experiment else title
