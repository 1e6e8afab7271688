"""`ganealogy noise`: vary one kind of a training's draws at a time, and record the lead metric of each run.

In each kind's runs the seed drives that kind alone, and the others keep seed 0. The run with seed 0 is the tree's own,
for all kinds. The runs go to the store, but never to build/runs or MLflow: they are no seeds of the tree.
"""

from __future__ import annotations

import sys

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.record_types import ManifestJson, MetricsJson, NoiseJson, StagePlan, VersionPlan
from ganealogy.runtime import process
from ganealogy.stages import _jobs as jobs
from ganealogy.stages import _side_by_side as side_by_side
from ganealogy.stages import _stage
from ganealogy.stages._jobs import Job
from ganealogy.workspace import MANIFEST, NOISE, plan_path, stage_plan_path

KINDS = ("initialise", "order", "steps")
"""Kinds of draws, the fields of `training.loop.Draws`."""


def run(version: str, runs: int) -> int:
    """Train what the store lacks, and write reports/noise.json. Return the exit code: 0, or 143 / 130 after a signal.

    `runs`: per kind of draws, the one with seed 0 included. Raises: GanealogyError when a run failed.
    """
    process.die_with_parent()
    interruption = process.Interruption()
    plan = _stage.read_plan(plan_path(version), VersionPlan)
    lead = _stage.read_plan(stage_plan_path("evaluate"), StagePlan)["settings"]["lead"]
    data: ManifestJson = read_record(MANIFEST, "run `dvc repro reference`", ("dataset",))
    todo = planned(version, plan["seeds"], runs)
    once = {job.name: job for each in todo.values() for job in each}
    with process.explain_full_disk(NOISE):
        lacking = [job for job in once.values() if jobs.remaining(job).stages]
        failures = side_by_side.run(lacking, schema.load(), interruption)
        if interruption:
            print(f"ganealogy: noise of {version} stopped; the same command resumes it", file=sys.stderr)
            return interruption.exit_code
        if failures:
            raise GanealogyError(side_by_side.describe(failures, f"ganealogy noise {version} --runs {runs}"))
        measured = {name: _metrics(job) for name, job in once.items()}
        values = {
            kind: {str(job.seed): _value(measured[job.name], lead) for job in each} for kind, each in todo.items()
        }
        protocols = [record["protocol"][lead] for record in measured.values() if lead in record["protocol"]]
        if not protocols:
            raise GanealogyError(f"no run of {version} has {lead}; `dvc repro` and its report say why")
        record: NoiseJson = {
            "version": version,
            "runs": runs,
            "plan": plan["fingerprint"],
            "data": data["dataset"],
            "lead": lead,
            "protocol": protocols[0],
            "values": values,
        }
        atomic.write_json(NOISE, record)
    return 0


def planned(version: str, seeds: list[int], runs: int) -> dict[str, list[Job]]:
    """Return kind → its jobs; `all` has the tree's seeds."""
    varied = {kind: [Job(version, seed, vary=kind if seed else "") for seed in range(runs)] for kind in KINDS}
    return varied | {"all": [Job(version, seed) for seed in seeds]}


def _metrics(job: Job) -> MetricsJson:
    entries = jobs.find(job)
    if len(entries) < len(job.stages):
        raise GanealogyError(f"{job.label}: its result is not in the store; the same command makes it again")
    metrics: MetricsJson = read_record(entries[-1].out / "metrics.json", "run it again", ("metrics", "protocol"))
    return metrics


def _value(record: MetricsJson, lead: str) -> float | None:
    """Return the lead metric of a finished run: a diverged one is another kind of difference than noise."""
    return record["metrics"].get(lead) if record["status"] == "finished" else None
