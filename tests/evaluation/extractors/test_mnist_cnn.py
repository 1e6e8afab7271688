"""The classifier that the reference stage trains, on ten glyphs instead of MNIST."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_runs import run_json, sample_json
from PIL import Image, ImageDraw

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.evaluate import evaluate
from ganealogy.evaluation.extractors import mnist_cnn
from ganealogy.evaluation.features import load_extractor, prepare_extractor
from ganealogy.evaluation.reference import measure_reference
from ganealogy.files import atomic
from ganealogy.stages import plan
from ganealogy.workspace import run_dir

METRICS = {"digits_mnist_cnn", "digit_entropy_mnist_cnn", "classifier_score_mnist_cnn"}


def digits(count: int, seed: int, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Digits of Pillow's default font, shifted and noisy: (N, 28, 28, 1) and (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = np.empty((count, size, size, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        sheet = Image.new("L", (size, size))
        ImageDraw.Draw(sheet).text(tuple(rng.integers(5, 8, 2)), str(label), fill=255, font_size=18)
        image[:, :, 0] = np.clip(np.asarray(sheet) + rng.normal(0, 10, (size, size)), 0, 255)
    return images, labels


def save(path: Path, array: np.ndarray) -> None:
    with atomic.writing(path) as file:
        np.save(file, array, allow_pickle=False)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    for split, count, seed in (("train", 1500, 1), ("holdout", 200, 2)):
        images, labels = digits(count, seed)
        save(folder / f"{split}.npy", images)
        save(folder / f"{split}-labels.npy", labels)
    return folder


@pytest.fixture(scope="module")
def reference(packed, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    measure_reference(
        {"extractors": ["mnist_cnn"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 400},
        200,
        packed,
        out,
    )
    return out


def test_reference_trains_it_and_measures_the_digits(reference):
    anchors = json.loads((reference / "anchors.json").read_text())
    table = anchors["metrics"]
    assert METRICS | {"fd_mnist_cnn"} <= set(table)
    assert table["digits_mnist_cnn"]["floor"] == 10 and table["digits_mnist_cnn"]["mean_image"] == 1
    assert table["classifier_score_mnist_cnn"]["floor"] > 9
    assert table["fd_mnist_cnn"]["floor"] < table["fd_mnist_cnn"]["mean_image"]
    protocol = anchors["protocol"]["fd_mnist_cnn"]
    assert protocol["weights_sha256"] == atomic.sha256(reference / mnist_cnn.FILE)
    assert 0.98 <= protocol["accuracy"] <= 1


def test_it_classifies_digits(reference):
    extractor = load_extractor("mnist_cnn", "cpu", reference)
    images, labels = digits(100, 3)
    features = extractor.features(images)
    assert features.shape == (100, 128) == (100, extractor.dimension)
    assert (extractor.probabilities(features).argmax(axis=1) == labels).mean() > 0.97
    np.testing.assert_allclose(extractor.features(images[::-1])[::-1], features, atol=1e-5)
    np.testing.assert_allclose(extractor.features(images.repeat(3, axis=3)), features, atol=1e-5)


def test_training_is_deterministic(packed, reference, tmp_path):
    prepare_extractor("mnist_cnn", "cpu", packed, tmp_path)
    assert (tmp_path / mnist_cnn.FILE).read_bytes() == (reference / mnist_cnn.FILE).read_bytes()


def test_evaluate_uses_the_classifier_of_the_reference(reference, tmp_path):
    run = run_dir("v1", 0, tmp_path)
    ones = digits(600, 5)
    images = ones[0][ones[1] == 1]
    save(run / "sample/images.npy", images)
    sha256 = atomic.sha256(run / "sample/images.npy")
    atomic.write_json(run / "sample/sample.json", sample_json(count=len(images), sha256=sha256))
    atomic.write_json(run / "train/run.json", run_json())
    settings = {"extractors": ["mnist_cnn"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5}
    record = evaluate(run, settings, reference)
    assert record["metrics"]["digits_mnist_cnn"] == 1
    assert record["protocol"]["digits_mnist_cnn"]["weights_sha256"] == atomic.sha256(reference / mnist_cnn.FILE)


def test_too_low_an_accuracy_is_an_error(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "packed")
    for split in ("train", "holdout"):
        path = tmp_path / "packed" / f"{split}-labels.npy"
        save(path, np.random.default_rng(0).permutation(np.load(path)))
    with pytest.raises(GanealogyError, match=r"of 200 held-out digits correctly, less than 98%.*dataset\.count"):
        prepare_extractor("mnist_cnn", "cpu", tmp_path / "packed", tmp_path)
    assert not (tmp_path / mnist_cnn.FILE).exists()


def test_pictures_without_labels_are_an_error(packed, tmp_path):
    shutil.copy(packed / "train.npy", tmp_path)
    with pytest.raises(GanealogyError, match=r"no labels for train.*dataset\.name: mnist"):
        prepare_extractor("mnist_cnn", "cpu", tmp_path, tmp_path)


def test_absent_and_damaged_weights_are_errors_with_the_stages_command(reference, tmp_path):
    with pytest.raises(GanealogyError, match=r"mnist_cnn\.safetensors: no such file.*dvc repro reference"):
        load_extractor("mnist_cnn", "cpu", tmp_path)
    whole = (reference / mnist_cnn.FILE).read_bytes()
    for content in (b"", b"no weights", whole[:-5]):
        (tmp_path / mnist_cnn.FILE).write_bytes(content)
        with pytest.raises(
            GanealogyError, match=r"mnist_cnn\.safetensors: not mnist_cnn's weights.*--force --single-item reference"
        ):
            load_extractor("mnist_cnn", "cpu", tmp_path)


@pytest.mark.parametrize(
    ("preset", "old", "new", "message"),
    [
        ("demo", "effnet_lite0_64]", "mnist_cnn]", r"extractors: mnist_cnn needs the labels of dataset\.name mnist"),
        (
            "mnist",
            "tracker: layout_edges_32_64",
            "tracker: mnist_cnn",
            r"train\.tracker: mnist_cnn is trained on labels",
        ),
        ("mnist", "image_size: 28", "image_size: 64", r"mnist_cnn takes 28 or 32 pixels a side.*64"),
    ],
)
def test_the_plan_rejects_it_for_other_data_sets_and_sizes(tmp_path, preset, old, new, message):
    text = Path(f"presets/{preset}.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new))
    with pytest.raises(GanealogyError, match=message):
        plan.make(tmp_path / "params.yaml")
