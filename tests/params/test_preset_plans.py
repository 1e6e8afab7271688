"""Every preset can be planned, with the intended versions and data."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ganealogy.params import edit, schema
from ganealogy.stages import plan

RUNS = {
    "demo": (["v1", "v2", "v3", "v7", "v8", "v20", "v21", "v22", "v23", "v24"], "avatars", 16, 3),
    "avatars": (["v1", "v2", "v3", "v7", "v8", "v20", "v21", "v22", "v23", "v24"], "avatars", 32, 3),
    "anime": (["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"], "anime", 64, 3),
    "notebook": (["v1"], "anime", 64, 3),
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


def test_notebook_is_the_tutorials_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of Jovian's 06b-anime-dcgan; benchmarks/measuring/notebook.py has its networks and its loop."""
    monkeypatch.syspath_prepend("benchmarks")
    transcription = import_module("measuring.notebook")
    settings = schema.load(Path("presets/notebook.yaml"))
    train, dataset = settings.train, settings.dataset
    assert (dataset.name, dataset.image_size, dataset.fit, dataset.flip) == ("anime", 64, "crop", False)
    assert (train.batch_size, train.lr, train.width, settings.tree.seeds) == (128, 2e-4, 64, [0])
    assert (train.epochs, train.kimg) == (25, None)
    files = plan.make(Path("presets/notebook.yaml"))
    made, version = files["versions/v1.json"], files["tree.json"]["versions"][0]  # type: ignore[typeddict-item]
    recipe: Any = made["recipe"]  # type: ignore[typeddict-item]
    assert recipe["latent"] == {"size": 128, "distribution": "normal"}
    for network in ("generator", "discriminator"):
        optimizer = recipe["optimizers"][network]
        assert (optimizer["name"], optimizer["lr"], optimizer["betas"]) == ("adam", 2e-4, [0.5, 0.999])
        assert (optimizer["schedule"], optimizer["clip_norm"]) == (None, None)
        peer = getattr(transcription, network)(train.width)
        assert version["parameters"][network] == sum(each.numel() for each in peer.parameters())
    adam = transcription.Notebook(train.batch_size).d_optimizer.defaults
    assert (adam["lr"], adam["betas"], transcription.LATENT) == (2e-4, (0.5, 0.999), recipe["latent"]["size"])
    targets = {name: recipe["adversary"]["loss"][f"{name}_target"] for name in ("real", "fake", "generator")}
    assert targets == {"real": 1.0, "fake": 0.0, "generator": 1.0} and recipe["adversary"]["game"]["d_steps"] == 1


def test_anime_keeps_the_notebooks_training() -> None:
    both = [plan.make(Path(f"presets/{name}.yaml"))["versions/v1.json"] for name in ("notebook", "anime")]
    assert both[0]["fingerprint"] == both[1]["fingerprint"]  # type: ignore[typeddict-item]
    assert set(both[0]["seeds"]) < set(both[1]["seeds"])  # type: ignore[typeddict-item]
    by_name = {name: schema.load(Path(f"presets/{name}.yaml")) for name in ("notebook", "anime")}
    assert by_name["notebook"].model_copy(update={"tree": by_name["anime"].tree}) == by_name["anime"]


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
