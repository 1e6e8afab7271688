"""Saved views of the UI: the run table with the columns that matter, and the versions as means over their seeds.

The UI keeps a view as a tag of the experiment, and opens with one where the address names it. The form is that of
MLflow 3.17 (JSON, deflated, in base64); an MLflow that reads another shows its own table, and nothing is lost.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

from ganealogy.tracking.context import Context

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "mlflow.sharedViewState.{}"
RUNS, VERSIONS = "ganealogy-runs", "ganealogy-versions"
CREATED = 1_700_000_000_000  # any fixed moment: the same view is the same tag


def views(tracker: str, extractors: list[str]) -> dict[str, dict[str, Any]]:
    """Key → the view, for a protocol's tracker and the extractors of its evaluation."""
    from ganealogy.evaluation.leading import distance  # a training imports this module

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
        RUNS: _view("Runs, best first", columns, measured, None),
        VERSIONS: _view("Versions, mean over seeds", columns, measured, by_version),
    }


def save(client: MlflowClient, experiment_id: str, context: Context) -> int:
    """Put the views that lack or differ into the experiment's tags; returns how many."""
    tree = context.tree
    tracker = str(tree.get("protocol", {}).get("tracker", "pixel8"))
    wanted = views(tracker, list(tree.get("evaluate", {}).get("extractors", [])))
    tags = client.get_experiment(experiment_id).tags
    new = {TAG.format(key): json.dumps(view) for key, view in wanted.items()}
    new = {tag: value for tag, value in new.items() if tags.get(tag) != value}
    for tag, value in new.items():
        client.set_experiment_tag(experiment_id, tag, value)
    return len(new)


def _view(name: str, columns: list[str], order: str, group: dict[str, Any] | None) -> dict[str, Any]:
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
        "groupBy": group,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return {"name": name, "createdAt": CREATED, "updatedAt": CREATED, "state": f"deflate;{packed}"}
