"""The saved views: selected columns, best run first, and versions as means over seeds."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ganealogy import tracking
from ganealogy.files import atomic
from ganealogy.tracking import store, ui_views
from ganealogy.workspace import RunDir


def saved() -> dict[str, Any]:
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        states = {}
        for tag, value in experiment.tags.items():
            if tag.startswith("mlflow.sharedViewState."):
                state = base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))
                states[tag.removeprefix("mlflow.sharedViewState.")] = json.loads(zlib.decompress(state))
        return states


def test_the_views_have_the_columns_of_the_protocol(finished: RunDir) -> None:
    tracking.sync_all()
    runs, versions = (saved()[key] for key in (ui_views.RUNS, ui_views.VERSIONS))
    with store.open_client() as client:
        [run] = client.search_runs([client.search_experiments()[0].experiment_id])
    for column in runs["selectedColumns"]:
        kind, _, name = column.partition(".")
        assert kind == "attributes" or name.strip("`") in getattr(run.data, kind), f"{column}: an empty column"
    assert (runs["orderByKey"], runs["orderByAsc"]) == ("metrics.`distance/fd_pixel8`", True)
    assert versions["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "version"}]
    tree = json.loads(Path("build/plan/tree.json").read_text())
    atomic.write_json(
        "build/plan/tree.json", tree | {"evaluate": {"extractors": ["pixel8", "inception"], "lead": "fd_pixel8"}}
    )
    tracking.sync(finished)
    assert "metrics.`evaluate/fid`" in saved()[ui_views.RUNS]["selectedColumns"]


def test_a_view_has_epochs_on_the_horizontal_axis(finished: RunDir, lab: SimpleNamespace) -> None:
    run_id = tracking.sync(finished).run_id
    axis = saved()[ui_views.EPOCHS]["globalLineChartConfig"]
    assert axis["xAxisKey"] == "metric"
    points = lab.contents(run_id)["metrics"]
    steps = {step for step, _ in points["train/d_loss"]}
    assert steps <= {step for step, _ in points[axis["selectedXAxisMetricKey"]]}, "the UI matches both by step"


def test_equal_views_are_equal_tags() -> None:
    assert ui_views.views("fd_pixel8", "pixel8", ["pixel8"]) == ui_views.views("fd_pixel8", "pixel8", ["pixel8"])


def test_the_grids_of_the_last_step_come_first_and_without_parameters(finished: RunDir) -> None:
    """Every section that MLflow makes of the metrics is listed."""
    tree = json.loads(Path("build/plan/tree.json").read_text())
    atomic.write_json(
        "build/plan/tree.json", tree | {"protocol": {"kimg": 0.195, "batch_size": 10, "tracker": "pixel8"}}
    )
    run_id = tracking.sync(finished).run_id
    runs = saved()[ui_views.RUNS]
    [chart] = runs["compareRunCharts"]
    assert (chart["type"], chart["showRunParams"]) == ("IMAGE", False)
    assert chart["metricSectionId"] == runs["compareRunSections"][0]["uuid"] and runs["isAccordionReordered"]
    with store.open_client() as client:
        [key] = chart["imageKeys"]
        pictures = [file.path for file in client.list_artifacts(run_id, "images")]
        assert any(path.startswith(f"images/{key}+step+{chart['step']}+") for path in pictures), pictures
        metrics = {name.rpartition("/")[0] for name in client.get_run(run_id).data.metrics}
    assert metrics <= {section["name"] for section in runs["compareRunSections"]} | {"system"}
    assert "compareRunCharts" not in saved()[ui_views.VERSIONS], "a group of runs has no grids"
