"""The run `all versions`: pictures of the whole tree by tick, and the report; and the experiment's description.

Separate from the trainings' runs: a copy of the report in each would take hundreds of megabytes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from ganealogy.files import atomic
from ganealogy.runtime.progress import Progress
from ganealogy.tracking import post, ui_views
from ganealogy.tracking.all_versions import AllVersions
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import DISTANCE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run

NAME = "all versions"
IMAGES = "all-versions"
LAST = "all-versions.png"
"""The picture of the last tick, which the UI shows in full size: it shows those by step as small copies first."""
PICTURES = "ganealogy.pictures"
HOW = """
In the MLflow UI, choose **Model training** at the top left. Then:

- [All versions]({last}): samples of every version and seed at the last tick, and [by tick]({run}): the slider under the
  picture is the training step, and a click enlarges it.
- [All runs, best first]({runs}): the table by {lead}, lowest first.
- [Versions, means over seeds]({versions}): a bar per version, and its curves.
- [Curves over epochs]({epochs}): losses and scores with epochs on the horizontal axis.
- [The report]({report}) is an artifact of the run `{name}`; a run's discriminator is in its artifacts, `weights`.
"""


def post_all(
    client: MlflowClient, experiment_id: str, table: AllVersions, page: Path, context: Context
) -> tuple[str, dict[str, int]]:
    """Post what the run lacks and the experiment's description; return the run's id and the number of new items.

    `page`: the report, which need not exist. Call under the store's lock.
    """
    mlflow_run = _find_or_create(client, experiment_id, context)
    posted = {
        "images": pictures(client, mlflow_run, table),
        "files": _report(client, mlflow_run, page) if page.is_file() else 0,
        "tags": _describe(client, experiment_id, mlflow_run, context),
    }
    if any(posted.values()) or mlflow_run.info.status != "FINISHED":
        client.set_terminated(mlflow_run.info.run_id, end_time=mlflow_run.info.start_time)
    return mlflow_run.info.run_id, posted


def _find_or_create(client: MlflowClient, experiment_id: str, context: Context) -> Run:
    """Return the run. It starts after the trainings that it shows, so that the UI, which sorts by time, lists it first.

    A store of an earlier release has one named `report`, which stays where it is.
    """
    key = atomic.digest(["report", experiment_id, context.dvc_experiment])
    found = post.find(client, experiment_id, key)
    if found is not None:
        return found
    tags = {post.KEY: key, "stage": "report"}
    if context.dvc_experiment:
        tags["dvc.exp_name"] = context.dvc_experiment
    newest = client.search_runs([experiment_id], order_by=["attributes.start_time DESC"], max_results=1)
    start_ms = max([int(time.time() * 1000), *(run.info.start_time + 1 for run in newest)])
    return client.create_run(experiment_id, start_ms, tags, context.with_experiment(NAME))


def pictures(client: MlflowClient, mlflow_run: Run, table: AllVersions) -> int:
    """Post the pictures of all steps where any differs from the posted ones; return their number."""
    run_id, steps = mlflow_run.info.run_id, table.steps
    posted: defaultdict[int, list[FileInfo]] = defaultdict(list)
    for file in client.list_artifacts(run_id, "images"):
        name = Path(file.path).name.split("+")  # see `post.grids`
        if name[:2] == [IMAGES, "step"]:
            posted[int(name[2])].append(file)
    whole = not steps or any(file.path == LAST and file.file_size for file in client.list_artifacts(run_id))
    whole = whole and all(len(files) == 2 and all(file.file_size != 0 for file in files) for files in posted.values())
    if whole and sorted(posted) == steps and mlflow_run.data.tags.get(PICTURES) == table.digest:
        return 0
    for step in posted.keys() - set(steps):
        _delete(mlflow_run, posted[step])
    with Progress("mlflow: all versions", len(steps), "picture") as progress:
        for step, picture in table.pictures():
            _delete(mlflow_run, posted[step])
            client.log_image(run_id, picture, key=IMAGES, step=step, synchronous=True)
            progress.update()
            if step == steps[-1]:
                client.log_image(run_id, picture, artifact_file=LAST)
    client.set_tag(run_id, PICTURES, table.digest)  # last: an interrupted sync posts them again
    return len(steps)


def _delete(mlflow_run: Run, files: list[FileInfo]) -> None:
    for file in files:
        post.delete_file(mlflow_run, file.path)


def _report(client: MlflowClient, mlflow_run: Run, page: Path) -> int:
    """Post the report if it differs from the posted one."""
    run_id, digest = mlflow_run.info.run_id, atomic.sha256(page)
    if mlflow_run.data.tags.get(post.FILES) == digest and client.list_artifacts(run_id, "report"):
        return 0
    client.log_artifact(run_id, str(page), "report")
    client.set_tag(run_id, post.FILES, digest)
    return 1


def _describe(client: MlflowClient, experiment_id: str, mlflow_run: Run, context: Context) -> int:
    """Set the descriptions of the experiment and of the run: the outcome, then what to look at."""
    outcome = context.outcome.sentence if context.outcome else ""
    run = f"#/experiments/{experiment_id}/runs/{mlflow_run.info.run_id}"
    table = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey="
    how = HOW.format(
        name=NAME,
        lead=f"`{DISTANCE}/{ui_views.lead(context)}`",
        run=f"{run}/model-metrics?workflowType=machine_learning",
        last=f"{run}/artifacts/{LAST}?workflowType=machine_learning",
        report=f"{run}/artifacts/report?workflowType=machine_learning",
        runs=f"{table}{ui_views.RUNS}",
        versions=f"{table}{ui_views.VERSIONS}&compareRunsMode=CHART",
        epochs=f"{table}{ui_views.EPOCHS}&compareRunsMode=CHART",
    )
    new = 0
    note = f"{outcome}\n{how}".strip()
    if not context.dvc_experiment and client.get_experiment(experiment_id).tags.get(post.NOTE) != note:
        client.set_experiment_tag(experiment_id, post.NOTE, note)
        new += 1
    look = "Model metrics: samples of every version (rows) and seed (columns) by step. Artifacts: the report."
    note = f"{outcome}\n\n{look}".strip()
    if mlflow_run.data.tags.get(post.NOTE) != note:
        client.set_tag(mlflow_run.info.run_id, post.NOTE, note)
        new += 1
    return new
