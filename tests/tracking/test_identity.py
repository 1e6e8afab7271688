"""Experiments and registered models are identified by the pictures and the way to measure, not by their names."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.fake_runs import metrics_json, run_json, write_run

from ganealogy import tracking
from ganealogy.files import atomic
from ganealogy.tracking import best_run, store
from ganealogy.workspace import RunDir

OTHER = "e" * 64


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log an empty model instead of the generator, which takes most of a second."""
    from mlflow.entities import LoggedModelStatus

    from ganealogy.tracking import model

    def log(client: Any, mlflow_run: Any, record: Any, context: Any) -> tuple[Any, int]:
        run, experiment = mlflow_run.info.run_id, mlflow_run.info.experiment_id
        if found := client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'"):
            return found[0], 0
        new = client.create_logged_model(experiment, name="generator", source_run_id=run)
        return client.finalize_logged_model(new.model_id, LoggedModelStatus.READY), 1

    monkeypatch.setattr(model, "log_generator", log)


def use(data: str = "d" * 64, **dataset: Any) -> None:
    """Set the plan's data set, and the digest of the pictures in data/packed."""
    tree = json.loads(Path("build/plan/tree.json").read_text())
    atomic.write_json("build/plan/tree.json", tree | {"dataset": tree["dataset"] | dataset})
    manifest = json.loads(Path("data/packed/manifest.json").read_text())
    atomic.write_json("data/packed/manifest.json", manifest | {"dataset": data})


def trained(lab: SimpleNamespace, data: str, value: float, seed: int = 0, images: int = 16) -> RunDir:
    run = lab.make_run(Path(), "v1", seed)
    held = json.loads((run / "train/run.json").read_text())
    key = run_json("v1", seed, plan=held["plan"], data=data)["key"]
    lab.set_status(run, "finished", data=data, key=key)
    protocol = {"fd_pixel8": {"images": images}}
    return write_run(run, metrics=metrics_json(metrics={"fd_pixel8": value}, protocol=protocol))


def bests() -> dict[str, str]:
    """Return registered model → score of `best`."""
    with store.open_client() as client:
        return {
            model.name: client.get_model_version_by_alias(model.name, "best").tags["score"]
            for model in client.search_registered_models()
        }


def experiments() -> dict[str, int]:
    """Return experiment → number of its runs."""
    with store.open_client() as client:
        return {found.name: len(client.search_runs([found.experiment_id])) for found in client.search_experiments()}


def sync(run: RunDir) -> tracking.SyncResult:
    result = tracking.sync(run)
    assert result.warning is None
    return result


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "folder", "path": "cats/images"}, {"name": "folder", "path": "dogs/images"}),
        ({"name": "folder", "path": "images"}, {"name": "folder", "path": "images"}),  # other pictures in it
        ({}, {"channels": 1}),
        ({"count": 100}, {"count": 200}),
    ],
)
def test_other_pictures_of_the_same_name_have_their_own_best(
    project: Path, lab: SimpleNamespace, first: dict[str, Any], second: dict[str, Any]
) -> None:
    use(**first)
    sync(trained(lab, lab.data, 5.0))
    [(name, _)] = bests().items()
    use(OTHER, **second)
    sync(trained(lab, OTHER, 1.0))
    held = bests()
    assert held.pop(name) == "5", "best moved to a generator of other pictures"
    assert list(held.values()) == ["1"]
    assert sorted(experiments().values()) == [1, 1]
    plain = next(title for title in experiments() if "·" not in title)
    assert set(experiments()) == {plain, f"{plain} · {OTHER[:6]}"}


def test_another_way_to_measure_has_its_own_best(project: Path, lab: SimpleNamespace) -> None:
    for seed, value in ((0, 5.0), (1, 7.0)):
        sync(trained(lab, lab.data, value, seed))
    sync(trained(lab, lab.data, 1.0, 1, images=99))
    plain, other = sorted(bests(), key=len)
    assert plain == "avatars-16x16" and other.startswith("avatars-16x16-")
    assert bests() == {plain: "5", other: "1"}
    sync(trained(lab, lab.data, 7.0, 1))  # and back
    assert bests() == {plain: "5", other: "1"}


def test_the_best_run_of_a_project_is_of_one_way_to_measure(project: Path, lab: SimpleNamespace) -> None:
    trained(lab, lab.data, 5.0, 0)
    lab.make_run(Path(), "v3", 0)
    write_run(
        lab.make_run(Path(), "v3", 0),
        metrics=metrics_json(metrics={"fd_pixel8": 4.0}, protocol={"fd_pixel8": {"images": 16}}),
    )
    trained(lab, lab.data, 1.0, 1, images=99)
    record, score = best_run.best(Path())
    assert (record.title, score.value) == ("v3 seed 0", 4.0)
    trained(lab, OTHER, 0.5, 1)
    assert best_run.best(Path())[1].value == 4.0, "a run on other pictures"


def test_a_renamed_experiment_and_model_are_found_again(project: Path, lab: SimpleNamespace) -> None:
    run = trained(lab, lab.data, 5.0)
    first = sync(run)
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        client.rename_experiment(experiment.experiment_id, "My faces")
        client.update_run(first.run_id, name="the good one")
        client.rename_registered_model("avatars-16x16", "production")
    again = sync(run)
    assert again.run_id == first.run_id
    assert set(again.posted.values()) == {0}
    assert experiments() == {"My faces": 1}
    assert bests() == {"production": "5"}
    assert lab.contents(first.run_id)["name"] == "the good one"


@pytest.mark.parametrize("deleted", ["experiment", "run", "model", "version", "alias", "logged model"])
def test_what_is_deleted_in_the_ui_is_there_once_after_a_sync(
    project: Path, lab: SimpleNamespace, deleted: str
) -> None:
    run = trained(lab, lab.data, 5.0)
    run_id = sync(run).run_id
    assert run_id is not None
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        [version] = client.search_model_versions()
        remove = {
            "experiment": lambda: client.delete_experiment(experiment.experiment_id),
            "run": lambda: client.delete_run(run_id),
            "model": lambda: client.delete_registered_model(version.name),
            "version": lambda: client.delete_model_version(version.name, version.version),
            "alias": lambda: client.delete_registered_model_alias(version.name, "best"),
            "logged model": lambda: client.delete_logged_model(version.source.removeprefix("models:/")),
        }
        remove[deleted]()
    for _ in range(2):
        assert [result.warning for result in tracking.sync_all()] == [None]
    assert experiments() == {"avatars 16×16": 1}
    assert bests() == {"avatars-16x16": "5"}
    with store.open_client() as client:
        assert len(client.search_model_versions()) == 1


def test_a_store_of_an_earlier_version_is_taken_over(project: Path, lab: SimpleNamespace) -> None:
    """Its experiments and models had no tags of the data."""
    run = trained(lab, lab.data, 5.0)
    run_id = sync(run).run_id
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        client.delete_experiment_tag(experiment.experiment_id, "ganealogy.data")
        for tag in ("ganealogy.data", "metric", "metric_protocol"):
            client.delete_registered_model_tag("avatars-16x16", tag)
    again = sync(run)
    assert (again.run_id, sum(again.posted.values())) == (run_id, 0)
    assert experiments() == {"avatars 16×16": 1}
    assert bests() == {"avatars-16x16": "5"}


def test_a_persons_own_experiment_and_model_are_left_alone(project: Path, lab: SimpleNamespace) -> None:
    with store.open_client() as client:
        client.create_experiment("avatars 16×16")
        client.create_registered_model("avatars-16x16")
    sync(trained(lab, lab.data, 5.0))
    assert experiments() == {"avatars 16×16": 0, f"avatars 16×16 · {lab.data[:6]}": 1}
    with store.open_client() as client:
        assert client.search_model_versions("name = 'avatars-16x16'") == []
        assert len(client.search_model_versions()) == 1
