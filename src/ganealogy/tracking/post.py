"""Post a run directory to its MLflow run: each function posts the missing items of one kind and returns their number.

Each can be interrupted anywhere and called again. Runs are flat: the UI groups them by the tags `version` and `seed`;
nested runs would collapse into one row without charts.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.tracking import run_record, store
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run

KEY = "ganealogy.key"
DATA = "ganealogy.data"
FILES = "ganealogy.files"
RECIPE = "recipe.yaml"
IMAGES = "samples"
NOTE = "mlflow.note.content"
LOOK = (
    "Model metrics: the leading distance first, then samples and losses by step. Artifacts: samples, the evaluation, "
    "and in `weights` the discriminator; the generator is the model `generator`."
)
EXPERIMENT_KIND = "mlflow.experimentKind"  # without it the UI shows pages for language models
BATCH_METRICS, BATCH_PARAMETERS = 1000, 100  # MLflow's limits per call

# FAILED marks a diverged training red in the run table; the tags `status` and `reason` give the cause. For the pipeline
# divergence is a valid result.
STATUSES = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "stopped": "FINISHED",
    "diverged": "FAILED",
    "interrupted": "KILLED",
}


def experiment(client: MlflowClient, name: str, data: str) -> str:
    """Find or create the experiment of a data set and return its id. Call under the store's lock.

    The tag `DATA` identifies it, so a person can rename it. It gets `name` if that is free, else with digits of the
    digest `data`. An experiment of an earlier version, without the tag, is taken over if it has runs on this data.
    """
    from mlflow.entities import ViewType

    tagged = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{DATA}` = '{data}'")
    # An active one first, then the oldest: a person can copy tags.
    for found in sorted(tagged, key=lambda found: (found.lifecycle_stage == "deleted", int(found.experiment_id))):
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    free = name
    for free in (name, f"{name} · {data[:6]}", f"{name} · {data}"):
        taken = client.get_experiment_by_name(free)
        if taken is None:
            break
        if DATA not in taken.tags and _is_of(client, taken.experiment_id, data):
            if taken.lifecycle_stage == "deleted":
                client.restore_experiment(taken.experiment_id)
            client.set_experiment_tag(taken.experiment_id, DATA, data)
            return taken.experiment_id
    tags = {EXPERIMENT_KIND: "custom_model_development", DATA: data}
    new: str = client.create_experiment(free, store.artifact_location(free), tags)
    return new


def _is_of(client: MlflowClient, experiment_id: str, data: str) -> bool:
    """Whether the experiment has runs on this data."""
    from mlflow.entities import ViewType

    return bool(client.search_runs([experiment_id], f"tags.`{DATA}` = '{data}'", ViewType.ALL, max_results=1))


def find(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """Return the run with this run key, if any."""
    runs = client.search_runs([experiment_id], filter_string=f"tags.`{KEY}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def find_or_create(client: MlflowClient, experiment_id: str, record: RunRecord, context: Context) -> Run:
    """Find or create the MLflow run of a run directory, whatever its name. Call under the store's lock."""
    existing = find(client, experiment_id, record.key)
    if existing is not None:
        return existing
    # Only at creation: another experiment that takes the same training from DVC's cache must not rename the run.
    origin = {"mlflow.source.git.commit": context.commit, "dvc.exp_name": context.dvc_experiment}
    return client.create_run(
        experiment_id,
        start_time=record.start_ms,
        run_name=context.with_experiment(record.title),
        tags={KEY: record.key, DATA: context.data(record)} | {name: value for name, value in origin.items() if value},
    )


def parameters(client: MlflowClient, mlflow_run: Run, record: RunRecord, context: Context) -> int:
    """Post missing parameters only: MLflow refuses changes, and equal keys mean equal recipe and protocol."""
    from mlflow.entities import Param

    counts = context.version(record.run["version"]).get("parameters") or {}
    values = record.parameters | {f"parameters.{name}": str(count) for name, count in counts.items()}
    missing = [Param(name, value) for name, value in values.items() if name not in mlflow_run.data.params]
    for start in range(0, len(missing), BATCH_PARAMETERS):
        client.log_batch(mlflow_run.info.run_id, params=missing[start : start + BATCH_PARAMETERS])
    return len(missing)


def tags(client: MlflowClient, mlflow_run: Run, record: RunRecord, context: Context) -> int:
    """Post new and changed tags, the run's description among them.

    Without an outcome, as during a training, a posted description stays: it may have one.
    """
    from mlflow.entities import RunTag

    run = record.run
    entry = context.version(run["version"])
    note = [record.summary, entry.get("title"), entry.get("idea"), entry.get("source") and f"Source: {entry['source']}"]
    verdict = context.outcome.verdicts.get(run["version"]) if context.outcome else None
    if verdict:
        note.insert(1, f"{run['version']} against its parent {run.get('parent')}, over seeds: {verdict}.")
    values = {
        "version": run["version"],
        "parent": run.get("parent"),
        "seed": run["seed"],
        "stage": record.stage,
        "status": record.status,
        "reason": run.get("reason"),
        "health": "; ".join(sign["sentence"] for sign in run.get("health") or []),
        "title": entry.get("title"),
        "verdict": verdict,
        "device": record.costs.get("train", {}).get("device_name"),
        "arithmetic": record.costs.get("train", {}).get("arithmetic"),
        "ganealogy.plan": run.get("plan"),
        DATA: run.get("data"),
        "mlflow.source.name": f"train@{run['version']}",
        "mlflow.source.type": "LOCAL",
        NOTE: "\n\n".join(str(part).strip() for part in [*note, LOOK] if part),
    }
    if context.outcome is None and "verdict" in mlflow_run.data.tags:
        del values[NOTE]
    new = {name: str(value) for name, value in values.items() if value not in (None, "")}
    new = {name: value for name, value in new.items() if mlflow_run.data.tags.get(name) != value}
    if new:
        client.log_batch(mlflow_run.info.run_id, tags=[RunTag(name, value) for name, value in new.items()])
    if "reason" in mlflow_run.data.tags and not values["reason"]:
        client.delete_tag(mlflow_run.info.run_id, "reason")  # it diverged; a later training with the same key did not
    return len(new)


def dataset(client: MlflowClient, mlflow_run: Run, record: RunRecord, context: Context) -> int:
    """Post the data set as the run's input, which the UI shows as a column."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    manifest = context.manifest
    if manifest is None or (mlflow_run.inputs and mlflow_run.inputs.dataset_inputs):
        return 0
    url = manifest.get("url")
    origin = {"url": url} if url else {"uri": "data/packed"}
    meta = Dataset(
        name=context.experiment(record),
        digest=manifest["dataset"][:16],  # MLflow allows 36 characters
        source_type="http" if url else "local",
        source=json.dumps(origin),
        profile=json.dumps({"train": manifest["counts"]["train"], "holdout": manifest["counts"]["holdout"]}),
    )
    client.log_inputs(mlflow_run.info.run_id, [DatasetInput(meta, [InputTag("mlflow.data.context", "training")])])
    return 1


def curves(client: MlflowClient, mlflow_run: Run, record: RunRecord) -> int:
    """Post each tick once, in one batch: batches are atomic, so a posted train/kimg proves the whole tick posted."""
    from mlflow.entities import Metric

    run_id = mlflow_run.info.run_id
    history = client.get_metric_history(run_id, "train/kimg") if mlflow_run.data.metrics else []
    posted = {point.step for point in history}
    batch: list[Metric] = []
    count = 0
    for tick in record.ticks:
        step = tick["step"]
        if step in posted:
            continue
        posted.add(step)
        time_ms = record.time_ms(step)
        points = [Metric(name, value, time_ms, step) for name, value in run_record.tick_metrics(tick).items()]
        if len(batch) + len(points) > BATCH_METRICS:
            client.log_batch(run_id, metrics=batch)
            batch = []
        batch += points
        count += len(points)
    if batch:
        client.log_batch(run_id, metrics=batch)
    return count


def final_metrics(client: MlflowClient, mlflow_run: Run, record: RunRecord) -> int:
    """Post metrics that differ from the store's, such as those of an evaluation with other settings."""
    from mlflow.entities import Metric

    run_id, posted = mlflow_run.info.run_id, mlflow_run.data.metrics
    now = int(time.time() * 1000)
    step = 0  # the UI draws metrics with only this step as bars, others as curves
    new = {name: value for name, value in record.final_metrics.items() if posted.get(name) != value}
    # The latest is the one with the last time, also where the clock was set back.
    before = [point.timestamp for name in new if name in posted for point in client.get_metric_history(run_id, name)]
    if new:
        time_ms = max([now, *(last + 1 for last in before)])
        client.log_batch(run_id, metrics=[Metric(name, value, time_ms, step) for name, value in new.items()])
    return len(new)


def grids(client: MlflowClient, mlflow_run: Run, record: RunRecord) -> int:
    """Post the sample grids by step; MLflow adds a small copy of each."""
    run_id = mlflow_run.info.run_id
    files = client.list_artifacts(run_id, "images") if record.grids else []
    by_step: dict[int, list[FileInfo]] = {}
    for file in files:
        name = Path(file.path).name.split("+")  # samples+step+640+timestamp+…, the copy's ends with compressed.webp
        if name[:2] == [IMAGES, "step"]:
            by_step.setdefault(int(name[2]), []).append(file)
    count = 0
    for step, picture in record.grids.items():
        posted = by_step.get(step, [])
        if len(posted) == 2 and all(file.file_size != 0 for file in posted):
            continue
        for file in posted:  # incomplete: an earlier sync was interrupted
            delete_file(mlflow_run, file.path)
        image, time_ms = _picture(picture, run_record.damaged(record.directory, "train")), record.time_ms(step)
        client.log_image(run_id, image, key=IMAGES, step=step, timestamp=time_ms, synchronous=True)
        count += 1
    return count


def files(client: MlflowClient, mlflow_run: Run, record: RunRecord) -> int:
    """Post recipe, samples, evaluation and D's weights, where absent or changed by the digests in the tag `FILES`.

    Raises: GanealogyError when D's weights are not those that the training wrote.
    """
    # Lazy: a training imports this module, and its fingerprint has only what it computes with.
    from ganealogy.files.integrity import verify_weights

    run_id = mlflow_run.info.run_id
    # The recipe is in each: without it the folder with the files was removed.
    are_there = any(file.path == RECIPE for file in client.list_artifacts(run_id))
    posted = json.loads(mlflow_run.data.tags.get(FILES, "{}")) if are_there else {}
    recipe = {name: record.run.get(name) for name in ("version", "parent", "seed", "recipe", "protocol")}
    digests = {RECIPE: atomic.digest(recipe)[:16]}
    digests |= {name: atomic.sha256(path)[:16] for name, path in record.files.items()}
    for path in record.discriminators.values():
        verify_weights(record.directory, record.run, path.stem)
    new = [name for name, digest in digests.items() if posted.get(name) != digest]
    for name in new:
        if name == RECIPE:
            client.log_text(run_id, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), name)
        else:
            client.log_artifact(run_id, str(record.files[name]), str(Path(name).parent))
    if new:
        client.set_tag(run_id, FILES, json.dumps(posted | digests, sort_keys=True))
    return len(new)


def status(client: MlflowClient, mlflow_run: Run, record: RunRecord, force: bool) -> None:
    """Set the MLflow run's status. `force`: `mlflow_run` is older than a possible change, by logging a model.

    Raises: GanealogyError when run.json has an unknown status.
    """
    status = STATUSES.get(record.status)
    if status is None:
        known = ", ".join(STATUSES)
        raise GanealogyError(
            f"{record.directory}/train/run.json: unknown status {record.status!r}; known: {known}; "
            f"{run_record.damaged(record.directory, 'train')}"
        )
    if mlflow_run.info.status == status and not force:
        return
    if status == "RUNNING":
        client.update_run(mlflow_run.info.run_id, status=status)
    else:
        client.set_terminated(mlflow_run.info.run_id, status=status, end_time=record.time_ms())


def _picture(path: Path, hint: str) -> Image.Image:
    try:
        with Image.open(path) as file:
            return file.copy()
    except OSError as error:
        raise GanealogyError(f"{path}: not a readable image ({error}); {hint}") from None


def delete_file(mlflow_run: Run, path: str) -> None:
    """Delete an artifact of a run."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(mlflow_run.info.artifact_uri).delete_artifacts(path)  # type: ignore[no-untyped-call]
