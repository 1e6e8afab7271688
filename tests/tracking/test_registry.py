"""One registered model per data set, one version per run, and the alias `best` on the lowest score."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.fake_runs import metrics_json, write_run

from ganealogy import tracking
from ganealogy.files import atomic
from ganealogy.tracking import registry, store
from ganealogy.workspace import RunDir

NAME = "avatars-16x16"


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the logging of generators, which takes most of a second, by that of an empty model."""
    from mlflow.entities import LoggedModelStatus

    from ganealogy.tracking import model

    def log(client: Any, mlflow_run: Any, record: Any, context: Any) -> tuple[Any, int]:
        if record.weights is None:
            return None, 0
        digest = atomic.sha256(record.weights)
        experiment = mlflow_run.info.experiment_id
        [*models] = client.search_logged_models(
            [experiment], filter_string=f"source_run_id = '{mlflow_run.info.run_id}'"
        )
        if models and models[0].params["weights_sha256"] == digest:
            return models[0], 0
        for old in models:
            client.delete_logged_model(old.model_id)
        new = client.create_logged_model(
            experiment, name="generator", source_run_id=mlflow_run.info.run_id, params={"weights_sha256": digest}
        )
        return client.finalize_logged_model(new.model_id, LoggedModelStatus.READY), 1

    monkeypatch.setattr(model, "log_generator", log)


def evaluated(run: RunDir, value: float, images: int = 16) -> RunDir:
    protocol = {"fd_pixel8": {"images": images}}
    return write_run(run, metrics=metrics_json(metrics={"fd_pixel8": value}, protocol=protocol))


@pytest.fixture
def three(project: Path, lab: SimpleNamespace) -> list[RunDir]:
    """v1 with two seeds and v3, of which v1 seed 1 is the best."""
    runs = [("v1", 0, 150.0), ("v1", 1, 90.0), ("v3", 0, 120.0)]
    return [evaluated(lab.make_run(project, v, s), value) for v, s, value in runs]


def held(name: str = NAME) -> dict[str, tuple[str, str, str | None]]:
    """Return run → (version in the registry, score, "best" if it has that alias)."""
    with store.open_client() as client:
        versions = client.search_model_versions(f"name = '{name}'")
        best = client.get_registered_model(name).aliases.get("best")
    return {
        f"{version.tags['version']}-{version.tags['seed']}": (
            str(version.version),
            version.tags.get("score", ""),
            "best" if str(best) == str(version.version) else None,
        )
        for version in versions
    }


def sync_all() -> None:
    runs = list(Path("build/runs").glob("*/train/*"))
    results = tracking.sync_all(Path())
    assert [result.warning for result in results] == [None] * len(results)
    assert len([result for result in results if result.title != "all versions"]) == len(runs)


def test_each_run_is_a_version_and_the_best_is_marked(three: list[RunDir]) -> None:
    sync_all()
    first = held()
    assert first == {"v1-0": ("1", "150", None), "v1-1": ("2", "90", "best"), "v3-0": ("3", "120", None)}
    sync_all()
    assert held() == first, "the second sync changed it"
    with store.open_client() as client:
        assert [model.name for model in client.search_registered_models()] == [NAME]
        version = client.get_model_version_by_alias(NAME, "best")
        assert {"version": "v1", "seed": "1", "metric": "fd_pixel8"}.items() <= version.tags.items()
        assert client.get_run(version.run_id).info.run_name == "v1 seed 1"


def test_best_moves_to_a_better_run_or_when_a_score_changes(three: list[RunDir], lab: SimpleNamespace) -> None:
    sync_all()
    evaluated(three[1], 200.0)
    sync_all()
    assert [key for key, (_, _, alias) in held().items() if alias] == ["v3-0"]
    evaluated(lab.make_run(Path()), 30.0)
    sync_all()
    assert [key for key, (_, _, alias) in held().items() if alias] == ["v3-1"]


def test_scores_of_other_protocols_are_not_compared(three: list[RunDir]) -> None:
    sync_all()
    evaluated(three[2], 5.0, images=99)
    tracking.sync(three[2])
    tracking.sync(three[0])
    with store.open_client() as client:
        assert client.get_model_version_by_alias(NAME, "best").tags["version"] == "v1"


def test_new_weights_replace_the_version(three: list[RunDir]) -> None:
    sync_all()
    weights = three[1] / "train/weights/generator-best.safetensors"
    weights.write_bytes((content := weights.read_bytes())[:-1] + bytes([content[-1] ^ 1]))
    sync_all()
    assert held()["v1-1"] == ("4", "90", "best")
    assert len(held()) == 3


def test_the_version_of_a_deleted_run_is_deleted_and_best_moves(three: list[RunDir]) -> None:
    sync_all()
    with store.open_client() as client:
        client.delete_run(client.get_model_version_by_alias(NAME, "best").run_id)
    (three[1] / "train/run.json").unlink()
    tracking.sync_all(Path())
    assert {key: alias for key, (_, _, alias) in held().items()} == {"v1-0": None, "v3-0": "best"}


def test_a_run_deleted_in_the_ui_is_posted_again_once(three: list[RunDir]) -> None:
    sync_all()
    with store.open_client() as client:
        client.delete_run(client.get_model_version_by_alias(NAME, "best").run_id)
    sync_all()
    assert {key: alias for key, (_, _, alias) in held().items()} == {"v1-0": None, "v1-1": "best", "v3-0": None}
    with store.open_client() as client:
        assert len(client.search_model_versions(f"name = '{NAME}'")) == 3


def test_a_run_is_registered_when_it_is_measured(project: Path, lab: SimpleNamespace) -> None:
    """A model has one way to measure, and before that the run has none; its generator is logged."""
    run = lab.make_run(project, "v1", 0)
    measured = json.loads((run / "evaluate/metrics.json").read_text())
    (run / "evaluate/metrics.json").unlink()
    sync_all()
    with store.open_client() as client:
        assert client.search_registered_models() == []
    write_run(run, metrics=measured)
    sync_all()
    assert held() == {"v1-0": ("1", "123.5", "best")}


def test_a_sync_killed_between_model_and_version_is_completed_by_the_next(
    three: list[RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    for method in ("create_model_version", "set_registered_model_alias"):
        from mlflow import MlflowClient

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(MlflowClient, method, die)
            tracking.sync(three[1])
    sync_all()
    assert held()["v1-1"][1:] == ("90", "best")
    assert len(held()) == 3


@pytest.mark.parametrize(
    ("experiment", "name"),
    [
        ("anime 32×32", "anime-32x32"),
        ("avatars-lorelei 32×32", "avatars-lorelei-32x32"),
        ("my cats/dogs: 2 64×64", r"my-cats-dogs-2-64x64-[0-9a-f]{6}"),
        ("猫 64×64", r"64x64-[0-9a-f]{6}"),
        ("' OR 1=1 -- 16×16", r"OR-1-1----16x16-[0-9a-f]{6}"),
        ("..", r"dataset-[0-9a-f]{6}"),
        ("x" * 300, r"x{100}-[0-9a-f]{6}"),
    ],
)
def test_any_data_set_gets_a_legal_model_name(experiment: str, name: str) -> None:
    from mlflow.utils.validation import _validate_model_name

    result = registry.model_name(experiment)
    _validate_model_name(result)
    assert re.fullmatch(name, result), result


def test_similar_names_stay_distinct() -> None:
    assert len({registry.model_name(f"{name} 64×64") for name in ("my cats", "my-cats", "my/cats", "my_cats")}) == 4


def test_a_data_set_with_special_characters_is_registered(project: Path, lab: SimpleNamespace) -> None:
    tree = json.loads(Path("build/plan/tree.json").read_text())
    tree["dataset"] = {"name": "folder", "path": '/data/Ma\'s: "cats" & 犬', "image_size": 16}
    atomic.write_json("build/plan/tree.json", tree)
    evaluated(lab.make_run(project, "v1", 0), 3.0)
    sync_all()
    with store.open_client() as client:
        [model] = client.search_registered_models()
    assert held(model.name) == {"v1-0": ("1", "3", "best")}
