"""The budget in kimg and in epochs: G updates, and what people read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.params import schema
from ganealogy.params.budget import describe, packed_pictures
from ganealogy.training.budget import resolve, step_count

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
        ({"epochs": 25}, 57_200, "25 epochs (1,430 kimg)"),
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
