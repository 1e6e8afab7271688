"""One run directory into one MLflow run: each function posts what the store lacks of one kind and says how much.

Each may be cut off anywhere and called again. Runs are flat: the UI groups by the tags `version` and `seed`, while
nested ones collapse into one row without charts.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
FILES = "ganealogy.files"
IMAGES = "samples"
EXPERIMENT_KIND = "mlflow.experimentKind"  # else the UI takes it for one about language models
BATCH_METRICS, BATCH_PARAMETERS = 1000, 100  # MLflow's limits a call

# A diverged training did not reach its end: the red mark of FAILED is what a person sees in the run table at a glance,
# and the tags `status` and `reason` say why. For the pipeline it is a result like any other.
STATUSES = {"running": "RUNNING", "finished": "FINISHED", "diverged": "FAILED", "interrupted": "KILLED"}


def experiment(client: MlflowClient, name: str) -> str:
    """Find or create; returns its id. Call under the store's lock."""
    found = client.get_experiment_by_name(name)
    if found is None:
        created: str = client.create_experiment(
            name, store.artifact_location(name), {EXPERIMENT_KIND: "custom_model_development"}
        )
        return created
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    identifier: str = found.experiment_id
    return identifier


def find(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """The run that carries the key."""
    runs = client.search_runs([experiment_id], filter_string=f"tags.`{KEY}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def find_or_create(client: MlflowClient, experiment_id: str, run: RunRecord, context: Context) -> Run:
    found = find(client, experiment_id, run.key)
    if found is not None:
        return found
    # Who made it is said once: another experiment that gets the same training from DVC's cache does not rename it.
    origin = {"mlflow.source.git.commit": context.commit, "dvc.exp_name": context.dvc_experiment}
    return client.create_run(
        experiment_id,
        start_time=run.began,
        run_name=context.named(run.title),
        tags={KEY: run.key} | {name: value for name, value in origin.items() if value},
    )


def parameters(client: MlflowClient, there: Run, run: RunRecord, context: Context) -> int:
    """Those not there yet: MLflow raises at a changed one, and the same key means the same recipe and protocol."""
    from mlflow.entities import Param

    counts = context.version(run.run["version"]).get("parameters") or {}
    wanted = run.parameters | {f"parameters.{name}": str(count) for name, count in counts.items()}
    lacking = [Param(name, value) for name, value in wanted.items() if name not in there.data.params]
    for start in range(0, len(lacking), BATCH_PARAMETERS):
        client.log_batch(there.info.run_id, params=lacking[start : start + BATCH_PARAMETERS])
    return len(lacking)


def tags(client: MlflowClient, there: Run, run: RunRecord, context: Context) -> int:
    from mlflow.entities import RunTag

    facts = run.run
    entry = context.version(facts["version"])
    about = [entry.get("title"), entry.get("idea"), entry.get("source") and f"Source: {entry['source']}"]
    wanted = {
        "version": facts["version"],
        "parent": facts.get("parent"),
        "seed": facts["seed"],
        "stage": run.stage,
        "status": run.status,
        "reason": facts.get("reason"),
        "title": entry.get("title"),
        "device": run.costs.get("train", {}).get("device_name"),
        "arithmetic": run.costs.get("train", {}).get("arithmetic"),
        "ganealogy.plan": facts.get("plan"),
        "ganealogy.data": facts.get("data"),
        "mlflow.source.name": f"train@{facts['version']}-{facts['seed']}",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": "\n\n".join(str(part).strip() for part in about if part),
    }
    new = {name: str(value) for name, value in wanted.items() if value not in (None, "")}
    new = {name: value for name, value in new.items() if there.data.tags.get(name) != value}
    if new:
        client.log_batch(there.info.run_id, tags=[RunTag(name, value) for name, value in new.items()])
    for name in {"reason"} & set(there.data.tags) - {name for name, value in wanted.items() if value}:
        client.delete_tag(there.info.run_id, name)  # it diverged, and a later training of the same key did not
    return len(new)


def dataset(client: MlflowClient, there: Run, run: RunRecord, context: Context) -> int:
    """The data set as the run's input; the UI shows it as a column."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    manifest = context.manifest
    if manifest is None or (there.inputs and there.inputs.dataset_inputs):
        return 0
    url = manifest.get("url")
    origin = {"url": url} if url else {"uri": "data/packed"}
    meta = Dataset(
        name=context.experiment(run),
        digest=manifest["dataset"][:16],  # at most 36 letters
        source_type="http" if url else "local",
        source=json.dumps(origin),
        profile=json.dumps({"train": manifest["counts"]["train"], "holdout": manifest["counts"]["holdout"]}),
    )
    client.log_inputs(there.info.run_id, [DatasetInput(meta, [InputTag("mlflow.data.context", "training")])])
    return 1


def curves(client: MlflowClient, there: Run, run: RunRecord) -> int:
    """Each tick once, by step. A tick is in one batch, which the store takes whole: its kimg stands for all of it."""
    from mlflow.entities import Metric

    run_id = there.info.run_id
    known = {point.step for point in client.get_metric_history(run_id, "train/kimg")} if there.data.metrics else set()
    batch: list[Metric] = []
    count = 0
    for tick in run.ticks:
        step = tick["step"]
        if step in known:
            continue
        known.add(step)
        points = [Metric(name, value, run.moment(step), step) for name, value in run_record.tick_metrics(tick).items()]
        if len(batch) + len(points) > BATCH_METRICS:
            client.log_batch(run_id, metrics=batch)
            batch = []
        batch += points
        count += len(points)
    if batch:
        client.log_batch(run_id, metrics=batch)
    return count


def final_metrics(client: MlflowClient, there: Run, run: RunRecord) -> int:
    """Those that differ from the store's: after an evaluation by other settings, the newer value is the latest."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    step = 0  # the UI draws bars over the runs for what has only this step, and curves for the rest
    new = {name: value for name, value in run.final_metrics.items() if there.data.metrics.get(name) != value}
    if new:
        points = [Metric(name, value, now, step) for name, value in new.items()]
        client.log_batch(there.info.run_id, metrics=points)
    return len(new)


def grids(client: MlflowClient, there: Run, run: RunRecord) -> int:
    """The sample grids by step, each with MLflow's small copy of it."""
    run_id = there.info.run_id
    files = client.list_artifacts(run_id, "images") if run.grids else []
    by_step: dict[int, list[FileInfo]] = {}
    for file in files:
        name = Path(file.path).name.split("+")  # samples+step+640+timestamp+…; the small one ends in "compressed.webp"
        if name[:2] == [IMAGES, "step"]:
            by_step.setdefault(int(name[2]), []).append(file)
    count = 0
    for step, picture in run.grids.items():
        there_already = by_step.get(step, [])
        if len(there_already) == 2 and all(file.file_size != 0 for file in there_already):
            continue
        for part in there_already:  # cut off between a picture and its small copy, or while one was copied
            _delete(there, part.path)
        client.log_image(run_id, _picture(picture), key=IMAGES, step=step, timestamp=run.moment(step), synchronous=True)
        count += 1
    return count


def files(client: MlflowClient, there: Run, run: RunRecord) -> int:
    """The recipe, the samples, the evaluation: what is absent or has changed, told by the digests kept in a tag."""
    run_id = there.info.run_id
    known = json.loads(there.data.tags.get(FILES, "{}"))
    recipe = {name: run.run.get(name) for name in ("version", "parent", "seed", "recipe", "protocol")}
    now = {"recipe.yaml": atomic.digest(recipe)[:16]}
    now |= {name: atomic.sha256(path)[:16] for name, path in run.files.items()}
    new = [name for name, digest in now.items() if known.get(name) != digest]
    for name in new:
        if name == "recipe.yaml":
            client.log_text(run_id, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), name)
        else:
            client.log_artifact(run_id, str(run.files[name]), str(Path(name).parent))
    if new:
        client.set_tag(run_id, FILES, json.dumps(known | now, sort_keys=True))
    return len(new)


def status(client: MlflowClient, there: Run, run: RunRecord, fresh: bool) -> None:
    """`fresh`: the run's status may have been changed by logging a model."""
    wanted = STATUSES.get(run.status)
    if wanted is None:
        known = ", ".join(STATUSES)
        raise GanealogyError(f"{run.directory}/train/run.json: unknown status {run.status!r}; known: {known}")
    if there.info.status == wanted and not fresh:
        return
    if wanted == "RUNNING":
        client.update_run(there.info.run_id, status=wanted)
    else:
        client.set_terminated(there.info.run_id, status=wanted, end_time=run.moment())


def report(client: MlflowClient, experiment_id: str, page: Path, context: Context) -> tuple[str, int]:
    """The report as a run of its own: it is about all runs, and a copy in each would be hundreds of megabytes.

    Its start lies before all of theirs, so that the UI, newest first, lists it below and charts them.
    """
    key = atomic.digest(["report", experiment_id, context.dvc_experiment])
    there = find(client, experiment_id, key)
    if there is None:
        marks: dict[str, Any] = {KEY: key, "stage": "report", "dvc.exp_name": context.dvc_experiment}
        marks = {name: value for name, value in marks.items() if value}
        first = client.search_runs([experiment_id], order_by=["attributes.start_time ASC"], max_results=1)
        before = first[0].info.start_time - 1 if first else None
        there = client.create_run(experiment_id, before, marks, context.named("report"))
    digest = atomic.sha256(page)
    if there.data.tags.get(FILES) == digest:
        return there.info.run_id, 0
    client.log_artifact(there.info.run_id, str(page), "report")
    client.set_tag(there.info.run_id, FILES, digest)
    client.set_terminated(there.info.run_id, end_time=there.info.start_time)
    return there.info.run_id, 1


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            return file.copy()
    except OSError as error:
        raise GanealogyError(f"{path}: not a readable picture ({error}); train the version again") from None


def _delete(there: Run, path: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(there.info.artifact_uri).delete_artifacts(path)  # type: ignore[no-untyped-call]
