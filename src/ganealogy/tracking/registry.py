"""The model registry: one registered model per data set and size, one version per trained run, one alias `best`.

    mlflow.pyfunc.load_model("models:/anime-32x32@best").predict([], params={"n": 16, "seed": 0, "temperature": 0.7})

A version is registered once, replaced when the weights change, and deleted with its run.
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
    """Return the experiment's name in a form for URLs and shells: `anime 32×32` → anime-32x32.

    MLflow refuses `/` and `:`. A name with special characters gets six digits of its hash, which keeps names distinct.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment.replace("×", "x")).strip("-.") or "dataset"
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99} \d+×\d+", experiment):
        return name
    return f"{name[:100]}-{hashlib.sha256(experiment.encode()).hexdigest()[:6]}"


def register(
    client: MlflowClient, mlflow_run: Run, model: LoggedModel | None, record: RunRecord, context: Context
) -> int:
    """Register the run's generator, update the alias `best`, and return the number of new versions.

    `model`: the logged model; None deletes the run's versions.
    """
    experiment = context.experiment(record)
    name = model_name(experiment)
    versions = _versions(client, name, f"run_id = '{mlflow_run.info.run_id}'")
    source = f"models:/{model.model_id}" if model else None  # the sqlite store keeps it, but not the model_id
    current = next((version for version in versions if version.source == source), None)
    created = 0
    if model is not None and source is not None and current is None:
        _create_model(client, name, experiment)
        tags = {tag: value for tag, value in _tags(record, context).items() if value is not None}
        current = client.create_model_version(
            name, source, mlflow_run.info.run_id, tags=tags, model_id=model.model_id, await_creation_for=0
        )
        created = 1
    for version in versions:
        if current is None or version.version != current.version:
            client.delete_model_version(name, version.version)
    if current is not None:
        _set_tags(client, current, _tags(record, context))
    score = _evaluated_score(record)
    if score is not None and (versions or created):
        update_best_alias(client, name, score.metric, score.protocol)
    return created


def update_best_alias(client: MlflowClient, name: str, metric: str, protocol: str) -> None:
    """Set the alias `best` to the version with the lowest `metric` by `protocol`; delete it if no version has one."""
    ranking = [
        (float(version.tags[SCORE]), int(version.version))
        for version in _versions(client, name)
        if (version.tags.get(METRIC), version.tags.get(PROTOCOL)) == (metric, protocol)
    ]
    current = client.get_registered_model(name).aliases.get(BEST)
    if ranking:
        winner = str(min(ranking)[1])
        if str(current) != winner:
            client.set_registered_model_alias(name, BEST, winner)
    elif current is not None:
        client.delete_registered_model_alias(name, BEST)


def prune(client: MlflowClient, experiment: str) -> int:
    """Delete the versions of deleted runs, update the alias `best`, and return the number of deleted versions."""
    name, deleted = model_name(experiment), 0
    for version in _versions(client, name):
        if _run_exists(client, version.run_id):
            continue
        client.delete_model_version(name, version.version)
        deleted += 1
        if METRIC in version.tags:
            update_best_alias(client, name, version.tags[METRIC], version.tags.get(PROTOCOL, ""))
    return deleted


def _run_exists(client: MlflowClient, run_id: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return True  # registered by the user
    try:
        active: bool = client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return active


def _create_model(client: MlflowClient, name: str, experiment: str) -> None:
    """Create the registered model unless it exists."""
    if not client.search_registered_models(f"name = '{name}'"):
        description = f"Generators of the family tree trained on {experiment}; `{BEST}` has the best primary metric."
        client.create_registered_model(name, tags={KIND: experiment}, description=description)


def _versions(client: MlflowClient, name: str, condition: str = "") -> list[ModelVersion]:
    query = f"name = '{name}'" + (f" AND {condition}" if condition else "")
    versions: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(query, max_results=PAGE, page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def _tags(record: RunRecord, context: Context) -> dict[str, str | None]:
    """Return a model version's tags; None for a tag that it must not have."""
    score = _evaluated_score(record)
    tags = {
        "version": record.run["version"],
        "seed": record.run["seed"],
        "parent": record.run.get("parent"),
        "title": context.version(record.run["version"]).get("title"),
        METRIC: score and score.metric,
        SCORE: score and f"{score.value:.17g}",
        PROTOCOL: score and score.protocol,
    }
    return {tag: None if value is None else str(value) for tag, value in tags.items()}


def _set_tags(client: MlflowClient, version: ModelVersion, tags: dict[str, str | None]) -> None:
    """Set missing and changed tags; delete those that are None."""
    for tag, value in tags.items():
        current = version.tags.get(tag)
        if value is None and current is not None:
            client.delete_model_version_tag(version.name, str(version.version), tag)
        elif value is not None and current != value:
            client.set_model_version_tag(version.name, str(version.version), tag, value)


def _evaluated_score(record: RunRecord) -> Score | None:
    """Return the score of the evaluation. The tracker's score does not rank versions."""
    score = best_run.score(record)
    return score if score is not None and score.protocol != best_run.UNMEASURED else None
