"""The model registry: a registered model per data set and measuring protocol, one version per run, one alias `best`.

    mlflow.pyfunc.load_model("models:/anime-32x32@best").predict([], params={"n": 16, "seed": 0, "temperature": 0.7})

Its tags identify a model, not its name: `best` never compares runs on other pictures, or measured in another way. A
version is registered when its run is measured, replaced when the weights change, and deleted with its run.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from ganealogy.tracking import best_run, post
from ganealogy.tracking.best_run import Score
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

BEST = "best"
METRIC, SCORE, PROTOCOL = "metric", "score", "metric_protocol"
KIND = "ganealogy.dataset"
PAGE = 200


def model_name(experiment: str) -> str:
    """Return the name of an experiment in a form for URLs and shells: `anime 32×32` → anime-32x32.

    MLflow refuses `/` and `:`. A name with special characters gets six digits of its hash, which keeps names distinct.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment.replace("×", "x")).strip("-.") or "dataset"
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99} \d+×\d+", experiment):
        return name
    return f"{name[:100]}-{hashlib.sha256(experiment.encode()).hexdigest()[:6]}"


def register(
    client: MlflowClient, mlflow_run: Run, model: LoggedModel | None, record: RunRecord, context: Context
) -> int:
    """Register the run's generator where it is measured, update the alias `best`, return the number of new versions.

    `model`: the logged model; None deletes the run's versions.
    """
    score = _evaluated_score(record)
    source = f"models:/{model.model_id}" if model else ""  # the sqlite store keeps it, but not the model_id
    registered = _models(client, context.data(record))
    name = None
    if score is not None and model is not None:
        name = _find_or_create(client, registered, score, context.experiment(record), context.data(record))
    created = 0
    for each in dict.fromkeys([*(known.name for known in registered), *([name] if name else [])]):
        versions = _versions(client, each, f"run_id = '{mlflow_run.info.run_id}'")
        current = next((version for version in versions if version.source == source), None)
        stale = [version for version in versions if version is not current]
        if each == name and model is not None:
            if current is None:
                current = client.create_model_version(
                    each, source, mlflow_run.info.run_id, model_id=model.model_id, await_creation_for=0
                )
                created += 1
            _set_tags(client, current, _tags(record, context))
        for version in stale:
            client.delete_model_version(each, version.version)
        if stale or each == name:
            update_best_alias(client, each)
    return created


def update_best_alias(client: MlflowClient, name: str) -> None:
    """Set the alias `best` to the version with the lowest score by the model's protocol; delete it if there is none."""
    model = client.get_registered_model(name)
    protocol = (model.tags.get(METRIC), model.tags.get(PROTOCOL))
    ranking = [
        (float(version.tags[SCORE]), int(version.version))
        for version in _versions(client, name)
        if (version.tags.get(METRIC), version.tags.get(PROTOCOL)) == protocol and SCORE in version.tags
    ]
    current = model.aliases.get(BEST)
    if ranking:
        winner = str(min(ranking)[1])
        if str(current) != winner:
            client.set_registered_model_alias(name, BEST, winner)
    elif current is not None:
        client.delete_registered_model_alias(name, BEST)


def prune(client: MlflowClient, data: str) -> int:
    """Delete the versions of deleted runs, update the alias `best`, and return the number of deleted versions.

    `data`: digest of the pictures.
    """
    deleted = 0
    for model in _models(client, data):
        gone = [version for version in _versions(client, model.name) if not _run_exists(client, version.run_id)]
        for version in gone:
            client.delete_model_version(model.name, version.version)
        if gone:
            update_best_alias(client, model.name)
        deleted += len(gone)
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


def _models(client: MlflowClient, data: str) -> list[RegisteredModel]:
    """Return the registered models of a data set, which a person may have renamed."""
    return list(client.search_registered_models(f"tags.`{post.DATA}` = '{data}'"))


def _find_or_create(
    client: MlflowClient, registered: list[RegisteredModel], score: Score, experiment: str, data: str
) -> str:
    """Return the name of the registered model of a data set and protocol.

    A new one is named after the experiment, with six digits of its own if that name is taken. A model of an earlier
    version, without these tags, is taken over if all its versions are of runs on this data.
    """
    tags = {METRIC: score.metric, PROTOCOL: score.protocol}
    for model in registered:
        if tags.items() <= model.tags.items():
            return str(model.name)
    name = model_name(experiment)
    taken = client.search_registered_models(f"name = '{name}'")
    own = {KIND: experiment, post.DATA: data, **tags}
    if taken and KIND in taken[0].tags and post.DATA not in taken[0].tags and _is_of(client, name, data):
        for tag, value in own.items():
            client.set_registered_model_tag(name, tag, value)
        return name
    if taken:
        name = f"{name}-{hashlib.sha256(f'{data} {score.metric} {score.protocol}'.encode()).hexdigest()[:6]}"
    description = (
        f"Generators trained on {experiment}; `{BEST}` has the lowest {score.metric} of protocol {score.protocol}."
    )
    client.create_registered_model(name, tags=own, description=description)
    return name


def _is_of(client: MlflowClient, name: str, data: str) -> bool:
    """Whether all versions are of runs on this data."""
    runs = [version.run_id for version in _versions(client, name)]
    return all(run and client.get_run(run).data.tags.get(post.DATA) == data for run in runs)


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
