"""Every preset can be planned, with the intended versions and data."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganealogy.params import edit, schema
from ganealogy.stages import plan

RUNS = {
    "demo": (["v1", "v2", "v3", "v7", "v8", "v20", "v21", "v22", "v23", "v24"], "avatars", 16, 3),
    "avatars": (["v1", "v2", "v3", "v7", "v8", "v20", "v21", "v22", "v23", "v24"], "avatars", 32, 3),
    "anime": (["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"], "anime", 64, 3),
    "celeba": (["celeba-dcgan", "v1", "v9", "v12"], "celeba", 32, 3),
    "cifar10": (["mimicry-dcgan", "mimicry-sngan"], "cifar10", 32, 3),
    "mnist": (["mnist-mlp", "mnist-dcgan"], "mnist", 28, 1),
    "mnist-mlp": (["mnist-mlp"], "mnist", 28, 1),
    "mnist32": (["v1", "v7"], "mnist", 32, 1),
    "folder": (["v1", "v20", "v21", "v22", "v23", "v24"], "folder", 64, 3),
}


def test_every_preset_is_tested_here() -> None:
    assert edit.known() == sorted(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_preset_can_be_planned(name: str, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(Path("params.yaml").read_text())
    (tmp_path / "pictures").mkdir()
    edit.use(name, str(tmp_path / "pictures") if name == "folder" else None, params)
    chosen = schema.load(params)
    versions, dataset, size, channels = RUNS[name]
    assert (chosen.tree.versions, chosen.dataset.name) == (versions, dataset)
    assert (chosen.dataset.image_size, chosen.dataset.channels) == (size, channels)
    assert {f"versions/{version}.json" for version in versions} < {*plan.make(params)}


def test_mnist_is_padded_at_32_pixels_only() -> None:
    by_name = {name: schema.load(Path(f"presets/{name}.yaml")) for name in ("mnist", "mnist32")}
    assert by_name["mnist"].dataset.fit == "crop" and by_name["mnist32"].dataset.fit == "pad"


def test_the_mnist_roots_use_their_published_batch_sizes() -> None:
    sizes = {name: schema.load(Path(f"presets/{name}.yaml")).train.batch_size for name in ("mnist", "mnist-mlp")}
    assert sizes == {"mnist": 256, "mnist-mlp": 100}


def test_the_mnist_roots_use_their_published_learning_rates(tmp_path: Path) -> None:
    files = plan.make(Path("presets/mnist.yaml"))
    rates = {name: files[f"versions/{name}.json"]["recipe"]["optimizers"] for name in ("mnist-mlp", "mnist-dcgan")}
    assert rates["mnist-mlp"]["generator"]["lr"] == pytest.approx(2e-4)
    assert rates["mnist-dcgan"]["discriminator"]["lr"] == pytest.approx(1e-4)
