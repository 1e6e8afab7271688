"""The views that the UI opens with: the columns that matter, the best first, versions as means over seeds."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from ganealogy import tracking
from ganealogy.files import atomic
from ganealogy.tracking import store, ui_views


def saved() -> dict[str, Any]:
    with store.opened() as client:
        [experiment] = client.search_experiments()
        found = {}
        for tag, value in experiment.tags.items():
            if tag.startswith("mlflow.sharedViewState."):
                state = base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))
                found[tag.removeprefix("mlflow.sharedViewState.")] = json.loads(zlib.decompress(state))
        return found


def test_both_views_are_there_and_follow_the_protocol(finished: Path) -> None:
    tracking.sync(finished)
    runs, versions = (saved()[key] for key in (ui_views.RUNS, ui_views.VERSIONS))
    with store.opened() as client:
        [run] = client.search_runs([client.search_experiments()[0].experiment_id])
    for column in runs["selectedColumns"]:
        kind, _, name = column.partition(".")
        assert kind == "attributes" or name.strip("`") in getattr(run.data, kind), f"{column}: an empty column"
    assert (runs["orderByKey"], runs["orderByAsc"]) == ("metrics.`evaluate/fd_pixel8`", True)
    assert versions["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "version"}]
    tree = json.loads(Path("build/plan/tree.json").read_text())
    atomic.write_json("build/plan/tree.json", tree | {"evaluate": {"extractors": ["pixel8", "inception"]}})
    tracking.sync(finished)
    assert "metrics.`evaluate/fid`" in saved()[ui_views.RUNS]["selectedColumns"]


def test_the_same_view_is_the_same_tag() -> None:
    assert ui_views.views("pixel8", ["pixel8"]) == ui_views.views("pixel8", ["pixel8"])


def test_the_pictures_come_first_and_without_parameters(finished: Path) -> None:
    """Those of the protocol's last step; every section that MLflow makes of the metrics has its place behind them."""
    tree = json.loads(Path("build/plan/tree.json").read_text())
    atomic.write_json(
        "build/plan/tree.json", tree | {"protocol": {"kimg": 0.195, "batch_size": 10, "tracker": "pixel8"}}
    )
    run_id = tracking.sync(finished).run_id
    runs = saved()[ui_views.RUNS]
    [chart] = runs["compareRunCharts"]
    assert (chart["type"], chart["showRunParams"]) == ("IMAGE", False)
    assert chart["metricSectionId"] == runs["compareRunSections"][0]["uuid"] and runs["isAccordionReordered"]
    with store.opened() as client:
        [key] = chart["imageKeys"]
        pictures = [file.path for file in client.list_artifacts(run_id, "images")]
        assert any(path.startswith(f"images/{key}+step+{chart['step']}+") for path in pictures), pictures
        metrics = {name.rpartition("/")[0] for name in client.get_run(run_id).data.metrics}
    assert metrics <= {section["name"] for section in runs["compareRunSections"]} | {"system"}
    assert "compareRunCharts" not in saved()[ui_views.VERSIONS], "a group of runs has no pictures"
