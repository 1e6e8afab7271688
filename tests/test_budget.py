"""The budget in kimg and in epochs: G updates, and what people read of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import trainings

from ganealogy.budget import resolve, step_count
from ganealogy.errors import GanealogyError
from ganealogy.params import schema
from ganealogy.params.budget_text import describe, packed_pictures
from ganealogy.runs import times
from ganealogy.runs.times import Measured, Seconds
from ganealogy.stages import _estimate, plan
from ganealogy.stages._jobs import Job
from ganealogy.workspace import run_dir

DATASET = {"name": "avatars", "image_size": 16, "channels": 3}
MANIFEST = {"source": "avatars", "image_size": 16, "channels": 3, "counts": {"train": 100}, "dataset": "d"}


@pytest.mark.parametrize(
    ("kimg", "batch", "updates"),
    [(10, 32, 313), (0.001, 8, 1), (6400, 128, 50_000), (0.069, 3, 23), (8.7, 29, 300), (1.0001, 10, 101)],
)
def test_kimg_are_rounded_up_to_whole_updates(kimg: float, batch: int, updates: int) -> None:
    assert step_count({"kimg": kimg, "batch_size": batch}) == updates


@pytest.mark.parametrize("batch", [2, 3, 7, 32, 100, 128])
def test_an_epoch_has_one_update_per_whole_batch(batch: int) -> None:
    for pictures in (128, 300, 57_199, 57_201, 63_000):
        for epochs in (1, 2.5, 25, 50):
            resolved = resolve({"epochs": epochs, "batch_size": batch}, pictures)
            assert resolved["epochs"] == epochs, "run.json has both"
            assert step_count(resolved) == -(-epochs * (pictures // batch) // 1)


def test_a_budget_is_resolved_once_the_pictures_are_counted_and_only_if_it_has_epochs() -> None:
    assert resolve({"epochs": 2, "batch_size": 8}, None) == {"epochs": 2, "batch_size": 8}
    assert resolve({"kimg": 2, "batch_size": 8}, 100) == {"kimg": 2, "batch_size": 8}


@pytest.mark.parametrize(
    ("protocol", "pictures", "text"),
    [
        ({"kimg": 16}, None, "16 kimg"),
        ({"kimg": 16}, 5400, "16 kimg (2.98 epochs)"),
        ({"epochs": 25}, None, "25 epochs"),
        ({"epochs": 25}, 57_200, "25 epochs (1,429.6 kimg)"),
        ({}, 5400, ""),
    ],
)
def test_people_read_both(protocol: Any, pictures: int | None, text: str) -> None:
    assert describe({**protocol, "batch_size": 32}, pictures) == text  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, 100), ({"source": "mnist"}, None), ({"image_size": 32}, None), ({"counts": None}, None)],
)
def test_the_pictures_of_another_data_set_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], expected: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert packed_pictures(DATASET) is None, "before the first preprocess"
    manifest = tmp_path / "data/packed/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps(MANIFEST | change))
    assert packed_pictures(DATASET) == expected


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"kimg": 16, "epochs": 25}, r"train\.kimg = 16 and train\.epochs = 25 are two budgets; remove one of them"),
        ({}, r"no budget; set train\.kimg, .* or train\.epochs"),
        ({"kimg": None, "epochs": None}, "no budget"),
        ({"epochs": 0}, r"train\.epochs = 0: input should be greater than 0"),
    ],
)
def test_exactly_one_budget_is_given(budget: dict[str, Any], message: str) -> None:
    content = schema.read_yaml(Path("tests/tiny.yaml"))
    del content["train"]["kimg"]
    with pytest.raises(GanealogyError, match=message):
        schema.parse(schema.Settings, content | {"train": content["train"] | budget}, "params.yaml")
    one = content | {"train": content["train"] | {"kimg": None, "epochs": 2}}
    assert schema.parse(schema.Settings, one, "params.yaml").train.epochs == 2


def test_the_commands_of_the_message_put_one_budget_in_place_of_the_other(tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    params = Path(shutil.copy("tests/tiny.yaml", tmp_path / "params.yaml"))
    apply_overrides(params, ["++train.epochs=25"])
    with pytest.raises(GanealogyError, match=r"two budgets.*-S '~train\.kimg'"):
        schema.load(params)
    apply_overrides(params, ["~train.kimg"])
    assert (schema.load(params).train.kimg, schema.load(params).train.epochs) == (None, 25)


@pytest.fixture
def one_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a budget of an epoch: 160 pictures in batches of 8."""
    folder = trainings.workspace(tmp_path / "work")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("kimg: 0.096", "epochs: 1"))
    monkeypatch.chdir(folder)
    return folder


def test_epochs_are_resolved_when_the_training_starts_and_the_plan_does_not_depend_on_the_pictures(
    one_epoch: Path,
) -> None:
    packed, versions = one_epoch / "data/packed", trainings.ROOT / "versions"
    made = plan.make(one_epoch / "params.yaml", versions)
    packed.rename(one_epoch / "away")
    assert plan.make(one_epoch / "params.yaml", versions) == made
    (one_epoch / "away").rename(packed)
    plan.write(made)
    code, said = trainings.run(trainings.train, one_epoch, "v1")
    assert code == 0, said
    record = json.loads((run_dir("v1", 0) / "train/run.json").read_text())
    assert (record["steps"], record["kimg"]) == (20, 0.16)
    assert (record["protocol"]["epochs"], record["protocol"]["kimg"]) == (1, 0.16)
    last = json.loads((run_dir("v1", 0) / "train/metrics.jsonl").read_text().splitlines()[-1])
    assert last["epoch"] == 1


def test_the_time_is_estimated_once_the_pictures_are_counted(one_epoch: Path) -> None:
    plan.write(plan.make(one_epoch / "params.yaml", trainings.ROOT / "versions"))
    settings, job = schema.load(), Job("v1", 0, ("train",))
    version = json.loads((one_epoch / "build/plan/versions/v1.json").read_text())
    measured = Measured(Seconds(0, 0), Seconds(1, 1), Seconds(0, 0), 1)
    times.keep(times.recipe_key(version, settings.train), measured)
    assert _estimate.expected([job], settings) == {}, "the manifest does not say of which data set it is"
    path = one_epoch / "data/packed/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": "avatars", "image_size": 16, "channels": 3}))
    assert _estimate.expected([job], settings)[job.name].cpu == 20
