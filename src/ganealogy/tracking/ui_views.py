"""Saved views of MLflow's UI: a run table with selected columns, and the versions as means over their seeds.

The first thing to break with a new MLflow. The format is internal to MLflow 3.17: a tag of the experiment with JSON,
deflated, in base64, opened by a key in the URL. If another MLflow cannot read it, its UI shows its default table and
the run data is unaffected.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

from ganealogy.budget import resolve, step_count
from ganealogy.params.budget_text import train_count
from ganealogy.tracking.context import Context
from ganealogy.tracking.post import IMAGES
from ganealogy.tracking.run_record import DISTANCE

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "mlflow.sharedViewState.{}"
View: TypeAlias = "dict[str, Any]"
"""State of an MLflow page, as its UI shares it by a link."""

RUNS, VERSIONS, EPOCHS = "ganealogy-runs", "ganealogy-versions", "ganealogy-epochs"
PICTURES = "Pictures"
SECTIONS = (PICTURES, DISTANCE, "evaluate", "train_best", "train", "usage", "System metrics")
"""Sections of the charts' page, from the top. The UI makes one of each prefix before a metric's last slash."""
CREATED = 1_700_000_000_000  # ms since 1970; any constant, so that equal views are equal tags


def views(lead: str, tracker: str, extractors: list[str], last: int = 0) -> dict[str, View]:
    """Return key → view, for the leading metric, a tracker, the extractors and the `last` step of a training."""
    from ganealogy.verdicts.primary_metric import distances as of_extractor  # a training imports this module

    primary = f"metrics.`{DISTANCE}/{lead}`"
    distances = [
        f"metrics.`evaluate/{name}`"
        for name in (of_extractor(extractor)[0] for extractor in extractors)
        if name != lead
    ]
    columns = [
        "attributes.`Dataset`",
        *dict.fromkeys([primary, *distances]),
        f"metrics.`train_best/fd_{tracker}`",
        "metrics.`usage/train_seconds`",
        "tags.`verdict`",
        "tags.`title`",
        "tags.`status`",
    ]
    by_version = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "version"}]}
    # MLflow's steps are training steps; its charts can have any metric as their horizontal axis.
    over_epochs = {"xAxisKey": "metric", "lineSmoothness": 0, "selectedXAxisMetricKey": "train/epoch"}
    return {
        RUNS: _view("Runs, best first", columns, primary, _pictures(last)),
        VERSIONS: _view("Versions, mean over seeds", columns, primary, {"groupBy": by_version}),
        EPOCHS: _view("Curves over epochs", columns, primary, {"globalLineChartConfig": over_epochs}),
    }


def lead(context: Context) -> str:
    """Return the name of the leading metric: the tracker's distance if the plan names none."""
    tracker = context.tree.get("protocol", {}).get("tracker", "pixel8")
    return str(context.tree.get("evaluate", {}).get("lead", f"fd_{tracker}"))


def save(client: MlflowClient, experiment_id: str, context: Context) -> int:
    """Save missing and changed views as tags of the experiment; return their number."""
    tree = context.tree
    protocol = resolve(tree.get("protocol", {}), train_count(context.manifest))
    tracker = str(protocol.get("tracker", "pixel8"))
    last = step_count(protocol) if {"kimg", "batch_size"} <= protocol.keys() else 0
    extractors = list(tree.get("evaluate", {}).get("extractors", []))
    current = views(lead(context), tracker, extractors, last)
    tags = client.get_experiment(experiment_id).tags
    new = {TAG.format(key): json.dumps(view) for key, view in current.items()}
    new = {tag: value for tag, value in new.items() if tags.get(tag) != value}
    for tag, value in new.items():
        client.set_experiment_tag(experiment_id, tag, value)
    return len(new)


def _view(name: str, columns: list[str], order: str, more: View) -> View:
    state = {
        "searchFilter": "",
        "orderByKey": order,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOWALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        **more,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return {"name": name, "createdAt": CREATED, "updatedAt": CREATED, "state": f"deflate;{packed}"}


def _pictures(step: int) -> View:
    """Return the settings of the charts' page: sample grids of `step` first, without parameters. The UI adds the rest.

    By default grids come last, below each run's parameters. A group of runs has no grids.
    """
    sections = [
        {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": True}
        for name in SECTIONS
    ]
    sections[0] |= {"columns": 1, "cardHeight": 480}  # one chart per row, high enough for two rows of grids
    chart = {
        "uuid": IMAGES,
        "type": "IMAGE",
        "metricSectionId": PICTURES,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": True,
        "imageKeys": [IMAGES],
        "step": step,  # the slider's; 0 would show the untrained generator
        "showRunParams": False,
    }
    # Without isAccordionReordered the UI sorts sections by name.
    return {"compareRunSections": sections, "compareRunCharts": [chart], "isAccordionReordered": True}
