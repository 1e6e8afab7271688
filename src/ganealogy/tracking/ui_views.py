"""Saved views of the UI: the run table with the columns that matter, and the versions as means over their seeds.

The UI keeps a view as a tag of the experiment, and opens with one where the address names it. The form is that of
MLflow 3.17 (JSON, deflated, in base64); an MLflow that reads another shows its own table, and nothing is lost.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import TYPE_CHECKING, Any

from ganealogy.tracking.context import Context
from ganealogy.tracking.post import IMAGES

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "mlflow.sharedViewState.{}"
RUNS, VERSIONS = "ganealogy-runs", "ganealogy-versions"
PICTURES = "Pictures"
SECTIONS = (PICTURES, "evaluate", "train_best", "train", "usage", "System metrics")
"""Of the charts' page, from the top; the UI makes one of what stands before a metric's last slash."""
CREATED = 1_700_000_000_000  # any fixed moment: the same view is the same tag


def views(tracker: str, extractors: list[str], last: int = 0) -> dict[str, dict[str, Any]]:
    """Key → the view, for a protocol's tracker, the extractors of its evaluation and its `last` step."""
    from ganealogy.verdicts.primary_metric import distance  # a training imports this module

    measured = f"metrics.`evaluate/{distance(tracker)}`"
    distances = [f"metrics.`evaluate/{distance(name)}`" for name in extractors]
    columns = [
        "attributes.`Dataset`",
        *dict.fromkeys([measured, *distances]),
        f"metrics.`train_best/fd_{tracker}`",
        "metrics.`usage/train_seconds`",
        "tags.`title`",
        "tags.`status`",
    ]
    by_version = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "version"}]}
    return {
        RUNS: _view("Runs, best first", columns, measured, _pictures(last)),
        VERSIONS: _view("Versions, mean over seeds", columns, measured, {"groupBy": by_version}),
    }


def save(client: MlflowClient, experiment_id: str, context: Context) -> int:
    """Put the views that lack or differ into the experiment's tags; returns how many."""
    tree = context.tree
    protocol = tree.get("protocol", {})
    tracker = str(protocol.get("tracker", "pixel8"))
    last = math.ceil(protocol.get("kimg", 0) * 1000 / protocol.get("batch_size", 1))  # as training/loop.py counts
    wanted = views(tracker, list(tree.get("evaluate", {}).get("extractors", [])), last)
    tags = client.get_experiment(experiment_id).tags
    new = {TAG.format(key): json.dumps(view) for key, view in wanted.items()}
    new = {tag: value for tag, value in new.items() if tags.get(tag) != value}
    for tag, value in new.items():
        client.set_experiment_tag(experiment_id, tag, value)
    return len(new)


def _view(name: str, columns: list[str], order: str, more: dict[str, Any]) -> dict[str, Any]:
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


def _pictures(step: int) -> dict[str, Any]:
    """The charts' page with the trainings' grids first, where the UI's own has them last and below each run's
    parameters, which fill the card. A group of runs has none. The other charts are the UI's to add."""
    sections = [
        {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": True}
        for name in SECTIONS
    ]
    sections[0] |= {"columns": 1, "cardHeight": 480}  # of one chart a row, for two rows of grids
    chart = {
        "uuid": IMAGES,
        "type": "IMAGE",
        "metricSectionId": PICTURES,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": True,
        "imageKeys": [IMAGES],
        "step": step,  # the slider's; 0 would show what the untrained networks draw
        "showRunParams": False,
    }
    # Not reordered, they are sorted by name.
    return {"compareRunSections": sections, "compareRunCharts": [chart], "isAccordionReordered": True}
