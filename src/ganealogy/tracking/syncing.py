"""MLflow follows the files: bring the store up to what the run directories hold.

`sync` may be called at any time, by several processes, and again after any failure: it finds or creates the run that
carries the run directory's key and posts only what the store lacks. Nothing is handed between stages, and a run that
DVC restored from its cache gets its MLflow run like any other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganealogy.errors import GanealogyError
from ganealogy.runtime.progress import Progress
from ganealogy.tracking import model, post, registry, run_record, store, ui_views
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord
from ganealogy.tracking.store import StoreError
from ganealogy.workspace import REPORT_PAGE

if TYPE_CHECKING:
    from mlflow import MlflowClient


def _print_warning(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Synced:
    """What one sync did."""

    directory: Path
    title: str
    status: str | None = None
    """Of the training: running, finished, diverged, interrupted."""
    run_id: str | None = None
    """The MLflow run; None when nothing could be posted."""
    posted: dict[str, int] = field(default_factory=dict)
    """How many of each kind were new to the store: parameters, tags, dataset, metrics, images, files, models,
    registered (model versions)."""
    warning: str | None = None
    """The line that was printed, if any."""
    store_failed: bool = False


def sync(
    run_dir: Path,
    tree: dict[str, Any] | None = None,
    final: str | None = None,
    context: Context | None = None,
    warn: Callable[[str], None] = _print_warning,
) -> Synced:
    """Post what the store lacks of one run directory (build/runs/<version>-<seed> or build/wip/<key>).

    `tree`: build/plan/tree.json, read from there when None. `final`: the status of a training that says it is running
    though its process is gone. `context`: what many calls share. A store that fails costs one line to `warn`, never an
    exception.

    Raises: GanealogyError when the run directory or the plan cannot be used.
    """
    context = context or Context.of(tree)
    run = run_record.read(run_dir)
    if final and run.status == "running":
        run = replace(run, run={**run.run, "status": final})
    if not context.trained_on(run):
        raise GanealogyError(f"{run_dir}: was not trained on the data in data/packed; run `dvc repro` first")
    try:
        with store.opened() as client:
            run_id, posted = _bring(client, run, context)
    except StoreError as failure:
        line = _failure_line(run.title, failure)
        warn(line)
        return Synced(run_dir, run.title, run.status, warning=line, store_failed=True)
    return Synced(run_dir, run.title, run.status, run_id, posted)


def sync_all(root: Path = Path()) -> list[Synced]:
    """Sync the listed runs under `root`, then trainings that were killed, then the report: all in this process.

    Prints a line for each run directory that cannot be used, and one for a store that fails, which ends the sync.

    Raises: GanealogyError when there is no plan.
    """
    context = Context.of(None, root)
    todo: list[tuple[Path, str | None]] = [(path, None) for path in context.run_directories()]
    todo += [(path, "interrupted") for path in _abandoned(context)]
    results: list[Synced] = []
    with Progress("mlflow", len(todo), "run") as progress:

        def warn(line: str) -> None:
            progress.say(f"warning: {line}")

        for run_dir, final in todo:
            try:
                results.append(sync(run_dir, final=final, context=context, warn=warn))
            except GanealogyError as error:
                warn(f"MLflow: {error}")
                results.append(Synced(run_dir, run_dir.name, warning=str(error)))
            progress.update(note=results[-1].title)
            if results[-1].store_failed:
                return results
    if todo:
        _prune(context)
    if (root / REPORT_PAGE).is_file():
        results.append(_sync_report(root / REPORT_PAGE, context))
    return results


def _bring(client: MlflowClient, run: RunRecord, context: Context) -> tuple[str, dict[str, int]]:
    """The store up to the record; what makes a run recognisable comes first, what is big last."""
    experiment_id = post.experiment(client, context.experiment(run))
    ui_views.save(client, experiment_id, context)
    there = post.find_or_create(client, experiment_id, run, context)
    posted = {
        "tags": post.tags(client, there, run, context),
        "parameters": post.parameters(client, there, run, context),
        "dataset": post.dataset(client, there, run, context),
        "metrics": post.curves(client, there, run) + post.final_metrics(client, there, run),
        "images": post.grids(client, there, run),
        "files": post.files(client, there, run),
    }
    generator, posted["models"] = model.log_generator(client, there, run, context)
    post.status(client, there, run, fresh=bool(posted["models"]))
    posted["registered"] = registry.register(client, there, generator, run, context)
    return there.info.run_id, posted


def _prune(context: Context) -> None:
    """The registered model without the versions of deleted runs."""
    try:
        with store.opened() as client:
            registry.prune(client, context.experiment())
    except StoreError as failure:
        _print_warning(_failure_line("the registered model", failure))


def _sync_report(page: Path, context: Context) -> Synced:
    try:
        with store.opened() as client:
            experiment_id = post.experiment(client, context.experiment())
            run_id, posted = post.report(client, experiment_id, page, context)
    except StoreError as failure:
        line = _failure_line("the report", failure)
        _print_warning(line)
        return Synced(page, "report", warning=line, store_failed=True)
    return Synced(page, "report", run_id=run_id, posted={"files": posted})


def _abandoned(context: Context) -> list[Path]:
    """Trainings on this data that were begun and that no process works on: killed, or waiting to be resumed."""
    abandoned = []
    for path in sorted((store.home().parent / "wip").glob("*/train/run.json")):
        directory = path.parent.parent
        try:
            ours = context.trained_on(run_record.read(directory))
        except GanealogyError:
            continue  # not a run that anyone listed; whoever trains it is told
        if ours and not _is_held(directory):
            abandoned.append(directory)
    return abandoned


def _is_held(directory: Path) -> bool:
    """Whether the process that said it trains here lives. Trying its lock could turn away one that starts now."""
    try:
        os.kill(int((directory / "holder").read_text()), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _failure_line(what: str, failure: StoreError) -> str:
    cure = "the files are whole, `ganealogy sync` posts them later"
    return f"MLflow: {what} not posted to {store.shown()}: {failure}; {cure}"
