"""The evaluate stage: every metric of the samples, into evaluate/ of each run."""

from __future__ import annotations

from ganealogy.errors import Remedy
from ganealogy.files import atomic
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.record_types import ManifestJson, RunJson, StagePlan
from ganealogy.runs.store import Entry
from ganealogy.runtime.workers import SendProgress
from ganealogy.stages import _seeds, _stage
from ganealogy.workspace import ANCHORS, FEATURES, MANIFEST, PACKED, REFERENCE, RunDir, main_root, stage_plan_path


def run(version: str, seeds: list[int] | None = None, ranks: int = 1) -> int:
    """Measure the samples of a version. Return the exit code.

    `seeds`: None takes the plan's. `ranks`: processes that share the work of each.
    """
    return _seeds.run("evaluate", version, seeds, ranks)


def made_from(version: str, seed: int, run: RunDir) -> dict[str, str]:
    """Return digests of the stage's plan, the training, the samples, the reference and the data."""
    plan = _stage.read_plan(stage_plan_path("evaluate"), StagePlan)
    training: RunJson = read_record(run / "train/run.json", Remedy(f"train@{version}"), ("key",), RunJson)
    manifest: ManifestJson = read_record(MANIFEST, Remedy("preprocess"), ("dataset",), ManifestJson)
    return {
        "plan": plan["fingerprint"],
        "run": training["key"],
        "train": atomic.sha256(run / "train/run.json"),
        "sample": _seeds.digest(run / "sample/sample.json", f"sample@{version}"),
        "reference": _seeds.digest(ANCHORS, "reference"),
        "data": manifest["dataset"],
    }


def key(made_from: dict[str, str]) -> str:
    return atomic.digest(made_from)


def make(version: str, seed: int, run: RunDir, send_progress: SendProgress | None = None) -> Entry:
    """Measure the samples and put the result into the store."""
    with _seeds.making("evaluate", version, seed, run) as making:
        # Imported here: a wrong plan is reported before torch is loaded.
        from ganealogy.evaluation import evaluate
        from ganealogy.runtime.distributed import process_group

        with process_group(_stage.setup_device(schema.load().train)) as device:
            cache = main_root() / FEATURES
            evaluate.evaluate(making.run, making.stage.settings, REFERENCE, PACKED, device=device, cache_dir=cache)
    return making.entry
