"""Post to MLflow what it lacks of the run directories.

`sync` can be called at any time, by several processes, and again after any failure. It finds or creates the MLflow run
with the run directory's key and posts only missing items. It depends on the files alone, so a run that DVC restored
from its cache gets its MLflow run, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ganealogy.errors import GanealogyError
from ganealogy.runtime.progress import Progress
from ganealogy.tracking import model, overview, post, registry, run_record, store, ui_views
from ganealogy.tracking.all_versions import AllVersions
from ganealogy.tracking.context import Context
from ganealogy.tracking.outcome import Outcome
from ganealogy.tracking.run_record import RunRecord
from ganealogy.tracking.store import StoreError
from ganealogy.tree_types import TreeJson
from ganealogy.workspace import REPORT_PAGE, WORK, RunDir, main_root, unfinished

if TYPE_CHECKING:
    from mlflow import MlflowClient


def _print_warning(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class SyncResult:
    """The result of one sync."""

    directory: RunDir | Path
    title: str
    status: str | None = None
    """The training's: running, finished, diverged or interrupted."""
    run_id: str | None = None
    """The MLflow run; None if posting failed."""
    posted: dict[str, int] = field(default_factory=dict)
    """Number of new items by kind: parameters, tags, dataset, metrics, images, files, models, registered (model
    versions)."""
    warning: str | None = None
    """The line passed to `warn`, if any."""
    store_failed: bool = False


def sync(
    run_dir: RunDir,
    tree: TreeJson | None = None,
    final: str | None = None,
    context: Context | None = None,
    warn: Callable[[str], None] = _print_warning,
) -> SyncResult:
    """Post the missing items of one run, finished or in build/wip.

    A failure of the store is one line to `warn`, never an exception.

    `tree`: the content of build/plan/tree.json; None reads the file. `final`: status to post instead of "running", for
    a training whose process has ended. `context`: replaces `tree`; share it between calls.

    Raises: GanealogyError when the run directory or the plan cannot be used.
    """
    context = context or Context.load(tree)
    record = run_record.read(run_dir)
    if final and record.status == "running":
        record = replace(record, run={**record.run, "status": final})
    if not context.has_data_of(record):
        raise GanealogyError(f"{run_dir}: not trained on the data in data/packed; run `dvc repro` first")
    try:
        with store.open_client() as client:
            run_id, posted = _post_run(client, record, context)
    except StoreError as failure:
        line = _failure_line(record.title, failure)
        warn(line)
        return SyncResult(run_dir, record.title, record.status, warning=line, store_failed=True)
    return SyncResult(run_dir, record.title, record.status, run_id, posted)


def sync_all(root: Path = Path()) -> list[SyncResult]:
    """Sync the listed runs under `root`, then killed trainings, then pictures of all versions and the report.

    A single run without a report gets no pictures of all versions.

    Prints one line for each unusable run directory. The first failure of the store prints one line and ends the sync.

    Raises: GanealogyError when there is no plan.
    """
    context = Context.load(None, root)
    context = replace(context, outcome=Outcome.read(root))
    todo: list[tuple[RunDir, str | None]] = [(path, None) for path in context.run_directories()]
    todo += [(path, "interrupted") for path in _abandoned_trainings(context)]
    results: list[SyncResult] = []
    with Progress("mlflow", len(todo), "run") as progress:

        def warn(line: str) -> None:
            progress.say(f"warning: {line}")

        for run_dir, final in todo:
            try:
                results.append(sync(run_dir, final=final, context=context, warn=warn))
            except GanealogyError as error:
                warn(f"MLflow: {error}")
                results.append(SyncResult(run_dir, run_dir.name, warning=str(error)))
            progress.update(note=results[-1].title)
            if results[-1].store_failed:
                return results
    if todo and context.data():
        _prune(context)
    if context.data() and (len(todo) > 1 or (root / REPORT_PAGE).is_file()):
        results.append(_sync_overview(context))
    return results


def _post_run(client: MlflowClient, record: RunRecord, context: Context) -> tuple[str, dict[str, int]]:
    """Post one run; return its MLflow id and the number of new items by kind.

    The order matters if it is interrupted: names and tags first, large files last.
    """
    experiment_id = post.experiment(client, context.experiment(record), context.data(record))
    ui_views.save(client, experiment_id, context)
    mlflow_run = post.find_or_create(client, experiment_id, record, context)
    posted = {
        "tags": post.tags(client, mlflow_run, record, context),
        "parameters": post.parameters(client, mlflow_run, record, context),
        "dataset": post.dataset(client, mlflow_run, record, context),
        # A run's page lists metrics in the order of posting: the leading one first.
        "metrics": post.final_metrics(client, mlflow_run, record) + post.curves(client, mlflow_run, record),
        "images": post.grids(client, mlflow_run, record),
        "files": post.files(client, mlflow_run, record),
    }
    generator, posted["models"] = model.log_generator(client, mlflow_run, record, context)
    post.status(client, mlflow_run, record, force=bool(posted["models"]))
    posted["registered"] = registry.register(client, mlflow_run, generator, record, context)
    return mlflow_run.info.run_id, posted


def _prune(context: Context) -> None:
    """Delete the model versions of deleted runs."""
    try:
        with store.open_client() as client:
            registry.prune(client, context.data())
    except StoreError as failure:
        _print_warning(_failure_line("the registered model", failure))


def _sync_overview(context: Context) -> SyncResult:
    """Post the pictures of all versions, the report and the experiment's description."""
    page = context.root / REPORT_PAGE
    try:
        with store.open_client() as client:
            experiment_id = post.experiment(client, context.experiment(), context.data())
            run_id, posted = overview.post_all(client, experiment_id, _table(context), page, context)
    except StoreError as failure:
        line = _failure_line(f"the run `{overview.NAME}`", failure)
        _print_warning(line)
        return SyncResult(page, overview.NAME, warning=line, store_failed=True)
    return SyncResult(page, overview.NAME, run_id=run_id, posted=posted)


def _table(context: Context) -> AllVersions:
    """Return the listed runs on this data. A damaged one is left out: its own sync has printed a line."""
    entries = [entry for entry in context.tree["versions"] if entry["seeds"]]
    runs = {}
    for directory in context.run_directories():
        try:
            record = run_record.read(directory)
        except GanealogyError:
            continue
        if context.has_data_of(record):
            runs[directory.version, directory.seed] = record
    seeds = dict.fromkeys(seed for entry in entries for seed in entry["seeds"])
    return AllVersions([entry["name"] for entry in entries], list(seeds), runs)


def _abandoned_trainings(context: Context) -> list[RunDir]:
    """Return the directories of unfinished trainings on this data that no process works on."""
    abandoned = []
    for path in sorted((main_root() / WORK).glob("*/train/run.json")):
        directory = unfinished(path.parent.parent)
        try:
            same_data = context.has_data_of(run_record.read(directory))
        except GanealogyError:
            continue  # not a listed run; training it again reports the damage
        if same_data and not _is_held(path.parent.parent):
            abandoned.append(directory)
    return abandoned


def _is_held(directory: Path) -> bool:
    """Whether the process named in the file `holder` is alive. Trying the lock could make a starting training fail."""
    try:
        os.kill(int((directory / "holder").read_text()), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _failure_line(what: str, failure: StoreError) -> str:
    return f"MLflow: {what} not posted to {store.display_uri()}: {failure}; {failure.remedy}"
