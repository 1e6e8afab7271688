"""The store has each item of a run directory once, after any number of complete or interrupted syncs."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.fake_runs import metrics_json, write_run

from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.tracking import model, post, store
from ganealogy.workspace import RunDir, run_dir


def sync(run: RunDir, **options: Any) -> tracking.SyncResult:
    result = tracking.sync(run, **options)
    assert result.warning is None
    assert result.run_id is not None
    return result


def test_a_run_has_tags_parameters_metrics_and_files(finished: RunDir, lab: SimpleNamespace) -> None:
    held = lab.contents(sync(finished).run_id)
    assert held["name"] == "v3 seed 1"
    assert held["status"] == "FINISHED"
    expected = {"version": "v3", "parent": "v1", "seed": "1", "stage": "evaluate", "status": "finished"}
    assert expected.items() <= held["tags"].items()
    assert held["tags"]["mlflow.source.name"] == "train@v3", "a stage of dvc.yaml"
    assert held["tags"]["ganealogy.plan"] == "plan of v3"
    assert held["tags"]["ganealogy.data"] == lab.data
    assert "Why it should help." in held["tags"]["mlflow.note.content"]
    assert held["params"]["adversary.loss.real_target"] == "0.9"
    assert held["params"]["adversary.loss.name"] == "hinge"
    assert held["params"]["protocol.lr"] == "0.0002"
    assert held["params"]["parameters.generator"] == "1000"
    assert held["metrics"]["train/fd_pixel8"] == [(0, 300), (10, 250), (20, 200)]
    assert held["metrics"]["train/kimg"] == [(0, 0), (10, 0.1), (20, 0.2)]
    assert held["metrics"]["train/g_loss"] == [(10, 0.5)]  # absent at tick 0, not finite at tick 2
    assert held["metrics"]["evaluate/fd_pixel8"] == [(0, 123.5)]
    assert held["metrics"]["usage/train_seconds"] == [(0, 12.5)]
    assert held["inputs"] == ["avatars 16×16"]
    assert {"recipe.yaml", "sample/grid.png", "sample/strip.png", "evaluate/metrics.json"} <= set(held["artifacts"])
    assert len([path for path in held["artifacts"] if path.endswith(".png") and path.startswith("images/")]) == 3


def test_the_leading_distance_is_first(finished: RunDir) -> None:
    """On a run's page, which has metrics in the order of posting, and in the charts, whose sections are sorted."""
    run_id = sync(finished).run_id
    with store.open_client() as client:
        names = list(client.get_run(run_id).data.metrics)
    assert names[0] == "distance/fd_pixel8"
    assert min(name.rpartition("/")[0] for name in names) == "distance"
    training = [name for name in names if name.startswith("train/")]
    assert training[0] == "train/fd_pixel8"


def test_the_discriminators_weights_are_an_artifact(finished: RunDir, lab: SimpleNamespace) -> None:
    path = finished / "train/weights/discriminator-last.safetensors"
    atomic.write_bytes(path, b"weights of D")
    run_id = sync(finished).run_id
    [there] = Path("mlartifacts").glob(f"*/{run_id}/artifacts/weights/*")
    assert (there.name, there.read_bytes()) == (path.name, b"weights of D")
    assert sync(finished).posted["files"] == 0
    lab.set_status(finished, "finished", weights={"discriminator-last": "0" * 64})
    with pytest.raises(GanealogyError, match=r"discriminator-last\.safetensors: damaged"):
        tracking.sync(finished)


def test_the_experiment_is_the_data_set_and_size(finished: RunDir) -> None:
    sync(finished)
    with store.open_client() as client:
        experiments = client.search_experiments()
    assert [experiment.name for experiment in experiments] == ["avatars 16×16"]
    assert experiments[0].artifact_location.startswith(Path("mlartifacts").resolve().as_uri())
    assert not Path("mlruns").exists()


def test_a_second_sync_posts_nothing(finished: RunDir, lab: SimpleNamespace) -> None:
    first = sync(finished)
    held = lab.contents(first.run_id)
    second = sync(finished)
    assert second.run_id == first.run_id
    assert set(second.posted.values()) == {0}
    assert lab.contents(first.run_id) == held


def test_only_new_ticks_are_posted(project: Path, lab: SimpleNamespace) -> None:
    work = lab.make_run(project, status="running", ticks=2, work="abc")
    first = sync(work)
    assert lab.contents(first.run_id)["status"] == "RUNNING"
    lab.add_tick(work, 2)
    with (work / "train/metrics.jsonl").open("a") as file:
        file.write('{"tick": 3, "st')  # incomplete
    second = sync(work)
    assert second.run_id == first.run_id
    assert (second.posted["metrics"], second.posted["images"]) == (5, 1)  # kimg, fd, epoch, d_images, d_loss
    assert [step for step, _ in lab.contents(first.run_id)["metrics"]["train/kimg"]] == [0, 10, 20]


def test_a_training_and_its_published_run_are_one_mlflow_run(project: Path, lab: SimpleNamespace) -> None:
    work = sync(lab.make_run(project, status="running", ticks=2, work="abc"))
    record = sync(lab.make_run(project))
    assert record.run_id == work.run_id
    assert lab.contents(record.run_id)["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("finished", "FINISHED"),
        ("stopped", "FINISHED"),
        ("diverged", "FAILED"),
        ("interrupted", "KILLED"),
        ("running", "RUNNING"),
    ],
)
def test_a_run_gets_its_mlflow_status(project: Path, lab: SimpleNamespace, status: str, expected: str) -> None:
    run = lab.make_run(project, status=status)
    if status == "diverged":
        lab.set_status(run, status, reason="NaN in d_loss at step 20")
    held = lab.contents(sync(run).run_id)
    assert held["status"] == expected
    assert held["tags"]["status"] == status
    assert held["tags"].get("reason") == ("NaN in d_loss at step 20" if status == "diverged" else None)


def test_an_interrupted_run_runs_again_when_resumed(project: Path, lab: SimpleNamespace) -> None:
    work = lab.make_run(project, status="running", ticks=2, work="abc")
    killed = sync(work, final="interrupted")
    assert lab.contents(killed.run_id)["status"] == "KILLED"
    lab.add_tick(work, 2)
    assert lab.contents(sync(work).run_id)["status"] == "RUNNING"


def test_a_run_keeps_the_name_of_the_dvc_experiment_that_created_it(
    finished: RunDir, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "wild-hat")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0123abc")
    run_id = sync(finished).run_id
    monkeypatch.setenv("DVC_EXP_NAME", "tame-cap")  # takes the same training from DVC's cache
    held = lab.contents(sync(finished).run_id)
    assert sync(finished).run_id == run_id
    assert held["name"] == "v3 seed 1 · wild-hat"
    assert held["tags"]["dvc.exp_name"] == "wild-hat"
    assert held["tags"]["mlflow.source.git.commit"] == "0123abc"


def test_a_changed_evaluation_becomes_the_latest(finished: RunDir, lab: SimpleNamespace) -> None:
    run_id = sync(finished).run_id
    write_run(finished, metrics=metrics_json("v3", 1, metrics={"fd_pixel8": 99.0}, protocol={}))
    again = sync(finished)
    assert (again.posted["metrics"], again.posted["files"]) == (2, 1)
    with store.open_client() as client:
        assert client.get_run(run_id).data.metrics["distance/fd_pixel8"] == 99.0
        assert client.get_run(run_id).data.metrics["evaluate/fd_pixel8"] == 99.0


def check_posted_once(run: RunDir, lab: SimpleNamespace) -> None:
    """Each item of a finished run is in the store once, after one more sync."""
    held = lab.contents(sync(run).run_id)
    assert set(sync(run).posted.values()) == {0}
    assert all(len({step for step, _ in points}) == len(points) for points in held["metrics"].values())
    assert len([path for path in held["artifacts"] if path.startswith("images/")]) == 6
    assert len(held["models"]) == 1
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        assert len(client.search_runs([experiment.experiment_id])) == 1


@pytest.mark.parametrize("cut", ["parameters", "curves", "grids", "half a grid", "files", "log_generator"])
def test_a_sync_killed_anywhere_is_completed_by_the_next(
    finished: RunDir, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        if cut == "half a grid":  # after the second grid, before MLflow's small copy of it
            from mlflow import MlflowClient

            log_artifact, calls = MlflowClient.log_artifact, iter(range(100))
            patch.setattr(
                MlflowClient, "log_artifact", lambda *a, **k: die() if next(calls) == 3 else log_artifact(*a, **k)
            )
        else:
            patch.setattr(model if cut == "log_generator" else post, cut, die)
        tracking.sync(finished)
    check_posted_once(finished, lab)


def test_syncs_killed_at_every_call_of_mlflow_post_each_item_once(
    finished: RunDir, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sync is killed one call later, until one gets through."""
    from mlflow import MlflowClient

    class Killed(BaseException):
        pass

    def counted(call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(calls) >= kills:
                raise Killed
            return call(*args, **kwargs)

        return wrapper

    writes = ("create_", "set_", "log_", "delete_", "update_", "finalize_")
    with monkeypatch.context() as patch:
        for name in dir(MlflowClient):
            if name.startswith(writes):
                patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        kills, is_done = 0, False
        while not is_done:
            calls = iter(range(1000))
            with suppress(Killed):
                is_done = tracking.sync(finished).warning is None
            kills += not is_done
    assert kills > 5, "no sync was killed"
    check_posted_once(finished, lab)
    with store.open_client() as client:
        assert len(client.search_model_versions()) == 1
        assert client.get_model_version_by_alias("avatars-16x16", "best").tags["score"] == "123.5"


def test_an_empty_image_in_the_store_is_posted_again(finished: RunDir) -> None:
    """A kill during the copy leaves an empty file."""
    sync(finished)
    posted = sorted(Path("mlartifacts").rglob("images/*"))
    posted[0].write_bytes(b"")
    assert sync(finished).posted["images"] == 1
    now = sorted(Path("mlartifacts").rglob("images/*"))
    assert len(now) == len(posted) == 6 and all(path.stat().st_size for path in now)
    assert set(sync(finished).posted.values()) == {0}


def test_sync_all_posts_listed_runs_killed_trainings_and_the_report(
    project: Path, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for version, seed in (("v1", 0), ("v3", 0), ("v9", 0)):  # v9 is not listed
        lab.make_run(project, version, seed)
    lab.make_run(project, "v1", 1, status="running", work="dead")
    (project / "build/wip/dead/holder").write_text("999999999\n")
    lab.make_run(project, "v3", 1, status="running", work="alive")
    (project / "build/wip/alive/holder").write_text(f"{os.getpid()}\n")
    atomic.write_text(project / "reports/index.html", "<h1>Report</h1>")
    results = tracking.sync_all(Path())
    assert [result.title for result in results] == ["v1 seed 0", "v3 seed 0", "v1 seed 1", "all versions"]
    assert [lab.contents(result.run_id)["status"] for result in results] == [
        "FINISHED",
        "FINISHED",
        "KILLED",
        "FINISHED",
    ]
    assert "warning" not in capsys.readouterr().err
    assert tracking.sync_all(Path())[-1].posted == {"images": 0, "files": 0, "tags": 0}


def test_sync_all_posts_the_seeds_that_each_version_has(project: Path, lab: SimpleNamespace) -> None:
    tree = json.loads((project / "build/plan/tree.json").read_text())
    seeds = {"v1": [1], "v3": [1, 7, 5], "v9": []}
    versions = [entry | {"seeds": seeds[entry["name"]]} for entry in tree["versions"]]
    atomic.write_json(project / "build/plan/tree.json", tree | {"versions": versions})
    for version, seed in (("v1", 1), ("v1", 5), ("v3", 1), ("v3", 5), ("v3", 7)):
        lab.make_run(project, version, seed, "interrupted")
    assert [result.title for result in tracking.sync_all(Path())] == [
        "v1 seed 1", "v3 seed 1", "v3 seed 7", "v3 seed 5", "all versions",
    ]  # fmt: skip


def test_a_damaged_run_does_not_stop_the_others(
    project: Path, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = lab.make_run(project, "v1", 0)
    next(iter(sorted((bad / "train/grids").glob("*.png")))).write_bytes(b"no picture")
    lab.make_run(project, "v3", 0)
    results = tracking.sync_all(Path())
    assert results[0].warning is not None and "000000.png" in results[0].warning
    assert results[1].run_id is not None
    assert capsys.readouterr().err.count("warning") == 1


def test_a_run_on_other_data_is_refused(finished: RunDir, project: Path) -> None:
    manifest = json.loads((project / "data/packed/manifest.json").read_text())
    atomic.write_json(project / "data/packed/manifest.json", manifest | {"dataset": "other"})
    with pytest.raises(GanealogyError, match="not trained on the data"):
        tracking.sync(finished)


def test_without_a_plan_or_a_run_the_error_names_the_command(project: Path) -> None:
    with pytest.raises(GanealogyError, match="dvc repro train@v1"):
        tracking.sync(run_dir("v1", 0, project))
    (project / "build/plan/tree.json").unlink()
    with pytest.raises(GanealogyError, match="dvc repro plan"):
        tracking.sync_all(Path())


def test_a_bug_is_not_reported_as_a_failure_of_the_store(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(post, "tags", wrong)
    with pytest.raises(TypeError, match="a bug"):
        tracking.sync(finished)
