"""The sample stage: pictures, a grid and a walk between latents from a trained generator, into sample/ of each run."""

from __future__ import annotations

from ganealogy.errors import Remedy
from ganealogy.files import atomic
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.record_types import ManifestJson, RunJson, StagePlan
from ganealogy.runs.store import Entry
from ganealogy.runtime.workers import SendProgress
from ganealogy.stages import _seeds, _stage
from ganealogy.workspace import MANIFEST, RunDir, stage_plan_path


def run(version: str, seeds: list[int] | None = None) -> int:
    """Sample the generators of a version. Return the exit code. `seeds`: None takes the plan's."""
    return _seeds.run("sample", version, seeds)


def made_from(version: str, seed: int, run: RunDir) -> dict[str, str]:
    """Return digests of the stage's plan and of the training, whose run.json has the hashes of its weights."""
    plan = _stage.read_plan(stage_plan_path("sample"), StagePlan)
    training = _training(version, run)
    digest = atomic.sha256(run / "train/run.json")
    names = {"classes": atomic.digest(_class_names(training))} if training["recipe"]["labels"] else {}
    return {"plan": plan["fingerprint"], "run": training["key"], "train": digest, **names}


def _training(version: str, run: RunDir) -> RunJson:
    training: RunJson = read_record(run / "train/run.json", Remedy(f"train@{version}"), ("key",), RunJson)
    return training


def _class_names(training: RunJson) -> list[str]:
    """Return the names of the classes that a training is conditioned on; empty for one without, or without names."""
    if not training["recipe"]["labels"]:
        return []
    manifest: ManifestJson = read_record(MANIFEST, Remedy("preprocess"), ("dataset",), ManifestJson)
    return manifest.get("classes", []) if manifest["dataset"] == training["data"] else []


def key(made_from: dict[str, str]) -> str:
    return atomic.digest(made_from)


def make(version: str, seed: int, run: RunDir, send_progress: SendProgress | None = None) -> Entry:
    """Draw the pictures and put them into the store."""
    with _seeds.making("sample", version, seed, run) as making:
        from ganealogy.sampling import sample  # imported here: a wrong plan is reported before torch is loaded

        sample.sample(
            making.run,
            making.stage.settings,
            device=_stage.setup_device(schema.load().train),
            class_names=_class_names(_training(version, run)),
        )
    return making.entry
