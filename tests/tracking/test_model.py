"""The logged generator loads without pickle and makes the pictures that the weights make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ganealogy import tracking
from ganealogy.networks import build, generation, latents
from ganealogy.tracking import store


@pytest.fixture
def loaded(finished: Path, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import sys

    import mlflow

    monkeypatch.setattr(sys, "path", [*sys.path])  # loading puts the model's own copy of our code there
    [model] = lab.contents(tracking.sync(finished).run_id)["models"]
    with store.opened():
        yield mlflow.pyfunc.load_model(f"models:/{model}")


def test_it_draws_what_the_weights_draw(loaded: Any, finished: Path) -> None:
    from ganealogy.tracking import record

    run = record.read(finished).run
    network = build.load_generator(
        finished / "train/weights/generator-best.safetensors", run["recipe"], run["protocol"]
    )
    z = latents.draw(run["recipe"]["latent"], 5, seed=3)
    drawn = loaded.predict([], params={"n": 5, "seed": 3, "truncation": 0.7})
    assert drawn.dtype == np.uint8
    assert drawn.shape == (5, 16, 16, 3)
    np.testing.assert_array_equal(drawn, generation.generate(network, z * 0.7))
    np.testing.assert_array_equal(loaded.predict(z.numpy()), generation.generate(network, z))
    assert loaded.predict([]).shape == (16, 16, 16, 3)
    with pytest.raises(ValueError, match="expected"):
        loaded.predict(np.zeros((2, 3), np.float32))


def test_nothing_in_it_is_pickled(loaded: Any, project: Path) -> None:
    [folder] = (store.home() / "artifacts").glob("*/models/*/artifacts")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    assert [path.name for path in files if path.suffix == ".safetensors"] == ["generator-best.safetensors"]
    assert (folder / "code/ganealogy/networks/build.py").is_file()


def test_other_weights_take_the_models_place(finished: Path, lab: SimpleNamespace) -> None:
    run_id = tracking.sync(finished).run_id
    before = lab.contents(run_id)["models"]
    weights = finished / "train/weights/generator-best.safetensors"
    weights.write_bytes((content := weights.read_bytes())[:-1] + bytes([content[-1] ^ 1]))
    assert tracking.sync(finished).posted["models"] == 1
    after = lab.contents(run_id)["models"]
    assert len(after) == 1
    assert after != before


def test_a_diverged_run_has_none(project: Path, lab: SimpleNamespace) -> None:
    run_dir = lab.make_run(project / "build/runs/v3-1", status="diverged")
    assert lab.contents(tracking.sync(run_dir).run_id)["models"] == []
