"""Coverage, recall and shares of each class, against distances of all pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fake_runs import recipe, run_json, sample_json, write_run

from ganealogy.evaluation.class_coverage import class_coverage
from ganealogy.evaluation.evaluate import evaluate
from ganealogy.evaluation.features import FeatureSet
from ganealogy.evaluation.measure import Comparison
from ganealogy.evaluation.reference import measure_reference
from ganealogy.files import atomic
from ganealogy.workspace import run_dir

K = 5


class Extractor:
    name, network, dimension, protocol = "numbers", True, 3, {}


def comparison(fakes: np.ndarray, reals: np.ndarray) -> Comparison:
    sides = (FeatureSet(side.astype(np.float32)) for side in (fakes, reals))
    return Comparison(Extractor(), *sides, k=K)  # type: ignore[arg-type]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (side.astype(np.float32).astype(float) for side in (a, b))
    return np.linalg.norm(a[:, None] - b, axis=2)


def test_it_is_the_fraction_of_each_class_s_reals_by_all_pairs() -> None:
    rng = np.random.default_rng(0)
    reals, fakes = rng.normal(0, 1, (90, 3)), rng.normal(0.5, 0.7, (60, 3))
    labels = np.array([0] * 50 + [1] * 36 + [2] * 4)
    found = class_coverage(comparison(fakes, reals), labels)
    assert found is not None
    real_radii, fake_radii = (np.sort(distances(side, side))[:, K] for side in (reals, fakes))
    across = distances(fakes, reals)
    covered, recalled = (across <= real_radii).any(0), (across <= fake_radii[:, None]).any(0)
    for key, inside in (("coverage", covered), ("recall", recalled)):
        expected = [inside[labels == 0].mean(), inside[labels == 1].mean(), None]
        assert found[key] == [pytest.approx(value) if value is not None else None for value in expected]
        assert 0 < found[key][0] < 1
    nearest = labels[across.argmin(1)]
    assert found["samples"] == pytest.approx([np.mean(nearest == each) for each in range(3)])
    assert found["reals"] == [50, 36, 4] and found["k"] == K and found["own"] is None
    json.dumps(found)


def test_a_class_that_the_samples_leave_out_is_not_covered() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(120) % 2
    reals = rng.normal(0, 1, (120, 3)) + 100 * labels[:, None]
    found = class_coverage(comparison(rng.normal(0, 1, (60, 3)), reals), labels)
    assert found is not None
    assert found["coverage"][0] > 0.7 and found["coverage"][1] == found["recall"][1] == 0
    assert found["samples"] == [1.0, 0.0]


def test_samples_of_a_conditional_version_are_compared_with_their_own_class() -> None:
    """These samples are right for class 0 and wrong for class 1; class 2 has none."""
    rng = np.random.default_rng(2)
    labels = np.arange(120) % 3
    reals = rng.normal(0, 1, (120, 3)) + 100 * labels[:, None]
    found = class_coverage(comparison(rng.normal(0, 1, (60, 3)), reals), labels, np.arange(60) % 2)
    assert found is not None and found["own"] == [1.0, 0.0, None]


def test_with_few_pictures_there_is_no_coverage() -> None:
    rng = np.random.default_rng(3)
    assert class_coverage(comparison(rng.normal(0, 1, (49, 3)), rng.normal(0, 1, (90, 3))), np.arange(90) % 2) is None


def test_the_evaluation_writes_it_where_the_data_set_has_classes(tmp_path: Path) -> None:
    """Bright reals are class 1 and dark ones class 0; all samples are bright."""
    rng = np.random.default_rng(4)
    labels = np.arange(150) % 2
    pictures = (rng.integers(0, 60, (150, 16, 16, 3)) + 190 * labels[:, None, None, None]).astype(np.uint8)
    packed, run = tmp_path / "packed", run_dir("v1", 0, tmp_path)
    save(packed / "train.npy", pictures)
    save(packed / "holdout.npy", pictures[:60])
    settings: Any = {"extractors": ["pixel8"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 100}
    measure_reference(settings, 60, packed, tmp_path / "reference")
    fakes = rng.integers(190, 250, (60, 16, 16, 3)).astype(np.uint8)
    save(run / "sample/images.npy", fakes)
    sample = sample_json(count=60, sha256=atomic.sha256(run / "sample/images.npy"))
    write_run(run, run_json(), sample)
    assert "classes" not in evaluate(run, settings, tmp_path / "reference", packed)
    save(packed / "train-labels.npy", labels)
    found = evaluate(run, settings, tmp_path / "reference", packed)["classes"]["pixel8"]
    assert found["reals"] == [50, 50] and found["coverage"][0] == 0 < found["coverage"][1]
    assert found["samples"] == [0, 1] and found["own"] is None
    conditional = run_json(recipe=recipe(labels=True), protocol={**run_json()["protocol"], "classes": 2})
    write_run(run, conditional | {"class_counts": [10, 20]}, sample)
    assert evaluate(run, settings, tmp_path / "reference", packed)["classes"]["pixel8"]["own"] == [0, 1]


def save(path: Path, array: np.ndarray) -> None:
    with atomic.writing(path) as file:
        np.save(file, array, allow_pickle=False)
