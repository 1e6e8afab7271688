"""The sample stage: pictures, a grid and a walk between latents from a trained generator, into sample/ of each run."""

from __future__ import annotations

from ganealogy.errors import Remedy
from ganealogy.files import atomic
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.record_types import RunJson, StagePlan
from ganealogy.runs.store import Entry
from ganealogy.runtime.workers import SendProgress
from ganealogy.stages import _seeds, _stage
from ganealogy.workspace import RunDir, stage_plan_path


def run(version: str, seeds: list[int] | None = None) -> int:
    """Sample the generators of a version. Return the exit code. `seeds`: None takes the plan's."""
    return _seeds.run("sample", version, seeds)


def made_from(version: str, seed: int, run: RunDir) -> dict[str, str]:
    """Return digests of the stage's plan and of the training, whose run.json has the hashes of its weights."""
    plan = _stage.read_plan(stage_plan_path("sample"), StagePlan)
    training: RunJson = read_record(run / "train/run.json", Remedy(f"train@{version}"), ("key",), RunJson)
    digest = atomic.sha256(run / "train/run.json")
    return {"plan": plan["fingerprint"], "run": training["key"], "train": digest}


def key(made_from: dict[str, str]) -> str:
    return atomic.digest(made_from)


def make(version: str, seed: int, run: RunDir, send_progress: SendProgress | None = None) -> Entry:
    """Draw the pictures and put them into the store."""
    with _seeds.making("sample", version, seed, run) as making:
        from ganealogy.sampling import sample  # imported here: a wrong plan is reported before torch is loaded

        sample.sample(making.run, making.stage.settings, device=_stage.setup_device(schema.load().train))
    return making.entry
