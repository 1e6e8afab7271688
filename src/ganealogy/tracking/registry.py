"""The model registry: one registered model a data set and size, a version of it a trained run, `best` on one of them.

    mlflow.pyfunc.load_model("models:/anime-32x32@best").predict([], params={"n": 16, "seed": 0, "truncation": 0.7})

Like the runs, versions follow the files: registered once, replaced when the weights are others, gone with their run.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from ganealogy.tracking import best_run
from ganealogy.tracking.best_run import Score
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

BEST = "best"
METRIC, SCORE, PROTOCOL = "metric", "score", "metric_protocol"
KIND = "ganealogy.dataset"
PAGE = 200


def model_name(experiment: str) -> str:
    """A name for addresses and shells: `anime 32×32` → anime-32x32.

    MLflow refuses `/` and `:`, and a data set may be called anything. Where its name had to be changed, a few digits of
    the hash tell apart what would then be called alike.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment.replace("×", "x")).strip("-.") or "dataset"
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99} \d+×\d+", experiment):
        return name
    return f"{name[:100]}-{hashlib.sha256(experiment.encode()).hexdigest()[:6]}"


def register(client: MlflowClient, there: Run, model: LoggedModel | None, run: RunRecord, context: Context) -> int:
    """The run's generator as a version of its data set's registered model; returns how many versions are new.

    `model`: the logged model; None when the run has none (any more), and then no version stays.
    """
    experiment = context.experiment(run)
    name = model_name(experiment)
    versions = _versions(client, name, f"run_id = '{there.info.run_id}'")
    source = f"models:/{model.model_id}" if model else None  # sqlite keeps this, and not the version's model_id
    current = next((version for version in versions if version.source == source), None)
    created = 0
    if model is not None and source is not None and current is None:
        _ensure(client, name, experiment)
        tags = {tag: value for tag, value in _description(run, context).items() if value is not None}
        current = client.create_model_version(
            name, source, there.info.run_id, tags=tags, model_id=model.model_id, await_creation_for=0
        )
        created = 1
    for version in versions:
        if current is None or version.version != current.version:
            client.delete_model_version(name, version.version)
    if current is not None:
        _describe(client, current, _description(run, context))
    measured = _measured(run)
    if measured is not None and (versions or created):
        crown(client, name, measured.metric, measured.protocol)
    return created


def crown(client: MlflowClient, name: str, metric: str, protocol: str) -> None:
    """Put `best` on the version with the lowest score of those measured so; take it off where there is none."""
    ranked = [
        (float(version.tags[SCORE]), int(version.version))
        for version in _versions(client, name)
        if (version.tags.get(METRIC), version.tags.get(PROTOCOL)) == (metric, protocol)
    ]
    holder = client.get_registered_model(name).aliases.get(BEST)
    if ranked:
        winner = str(min(ranked)[1])
        if str(holder) != winner:
            client.set_registered_model_alias(name, BEST, winner)
    elif holder is not None:
        client.delete_registered_model_alias(name, BEST)


def prune(client: MlflowClient, experiment: str) -> int:
    """Delete the versions whose run is deleted; returns how many. `best` moves to the next one."""
    name, gone = model_name(experiment), 0
    for version in _versions(client, name):
        if _is_alive(client, version.run_id):
            continue
        client.delete_model_version(name, version.version)
        gone += 1
        if METRIC in version.tags:
            crown(client, name, version.tags[METRIC], version.tags.get(PROTOCOL, ""))
    return gone


def _is_alive(client: MlflowClient, run_id: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return True  # registered by hand
    try:
        active: bool = client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return active


def _ensure(client: MlflowClient, name: str, experiment: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        about = f"Generators of the family tree trained on {experiment}; `{BEST}` has the best leading metric."
        client.create_registered_model(name, tags={KIND: experiment}, description=about)


def _versions(client: MlflowClient, name: str, condition: str = "") -> list[ModelVersion]:
    found: list[ModelVersion] = []
    token = None
    while True:
        wanted = f"name = '{name}'" + (f" AND {condition}" if condition else "")
        page = client.search_model_versions(wanted, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _description(run: RunRecord, context: Context) -> dict[str, str | None]:
    """A model version's tags; None where it should have none."""
    measured = _measured(run)
    entry = context.version(run.run["version"])
    tags = {
        "version": run.run["version"],
        "seed": run.run["seed"],
        "parent": run.run.get("parent"),
        "title": entry.get("title"),
        METRIC: measured and measured.metric,
        SCORE: measured and f"{measured.value:.17g}",
        PROTOCOL: measured and measured.protocol,
    }
    return {tag: None if value is None else str(value) for tag, value in tags.items()}


def _describe(client: MlflowClient, version: ModelVersion, wanted: dict[str, str | None]) -> None:
    """Tags that lack or differ; a score that is no longer true goes."""
    for tag, value in wanted.items():
        there = version.tags.get(tag)
        if value is None and there is not None:
            client.delete_model_version_tag(version.name, str(version.version), tag)
        elif value is not None and there != value:
            client.set_model_version_tag(version.name, str(version.version), tag, value)


def _measured(run: RunRecord) -> Score | None:
    """What the evaluation says; the tracker's word while training ranks nobody here."""
    found = best_run.score(run)
    return found if found is not None and found.protocol != best_run.UNMEASURED else None
