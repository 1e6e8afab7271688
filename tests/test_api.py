"""ganealogy.api, as its documentation shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fake_runs import PROTOCOL, metrics_json, recipe, run_json, write_run
from PIL import Image
from safetensors.torch import save

from ganealogy import api
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.networks import _build
from ganealogy.sampling.latents import sample_latents
from ganealogy.workspace import RunDir, run_dir

SMALL = {**PROTOCOL, "image_size": 16, "width": 4}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with weights."""
    directory = run_dir("v1", 0, tmp_path)
    torch.manual_seed(0)
    weights = {name: tensor.contiguous() for name, tensor in _build.generator(recipe(), SMALL).state_dict().items()}
    path = directory / "train/weights/generator-best.safetensors"
    atomic.write_bytes(path, save(weights))
    return write_run(directory, run_json(protocol=SMALL, weights={"generator-best": atomic.sha256(path)}))


def test_a_loaded_generator_makes_the_same_pictures_from_the_same_seed(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = api.load_generator("v1", root=tmp_path)
    pictures = generator.generate(5, seed=3)
    assert pictures.shape == (5, 16, 16, 3) and pictures.dtype == np.uint8
    assert np.array_equal(pictures, api.load_generator("v1", 0, "best", str(tmp_path)).generate(5, seed=3))
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(pictures, api.load_generator("v1").generate(5, seed=3)), "of the project in this folder"
    assert not np.array_equal(pictures, generator.generate(5, seed=4))
    assert torch.equal(generator.latents(5, 3), sample_latents(recipe()["latent"], 5, 3))
    with torch.no_grad():
        assert generator.network(generator.latents(2)).shape == (2, 3, 16, 16)


def test_damaged_weights_and_absent_runs_are_named(run: RunDir, tmp_path: Path) -> None:
    for version, seed, root in (("v1", 0, tmp_path / "nowhere"), ("v1", 1, tmp_path), ("v2", 0, tmp_path)):
        with pytest.raises(GanealogyError, match=rf"{version}/train/{seed}/run\.json: no such file; run `dvc repro"):
            api.load_generator(version, seed, root=root)
    with pytest.raises(GanealogyError, match="'build/runs/v1-0' is not a version name"):
        api.load_generator("build/runs/v1-0")
    path = run / "train/weights/generator-best.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(GanealogyError, match="generator-best"):
        api.load_generator("v1", root=tmp_path)


def test_runs_is_a_table_of_what_the_plan_lists(run: RunDir, tmp_path: Path) -> None:
    seeds: dict[str, list[int]] = {"v1": [0, 1], "v2": [0, 5, 1], "v9": []}
    versions = [{"name": name, "listed": bool(of), "seeds": of} for name, of in seeds.items()]
    atomic.write_json(tmp_path / "build/plan/tree.json", {"versions": versions})
    write_run(run, metrics=metrics_json(metrics={"fd_pixel8": 12.5}))
    write_run(run_dir("v2", 1, tmp_path), run_json("v2", 1, status="diverged"))
    write_run(run_dir("v1", 5, tmp_path), run_json("v1", 5))
    table = api.runs(tmp_path)
    rows = [*zip(table["version"], table["seed"], strict=True)]
    assert rows == [("v1", 0), ("v1", 1), ("v2", 0), ("v2", 5), ("v2", 1)], "each version's own seeds, in their order"
    assert [*table["status"]] == ["finished", "missing", "missing", "missing", "diverged"]
    assert table["fd_pixel8"][0] == 12.5 and table["fd_pixel8"][1:].isna().all()


def test_without_a_plan_it_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match=r"tree\.json: no such file; run `dvc repro plan`"):
        api.runs(tmp_path)


def test_two_folders_are_measured(tmp_path: Path) -> None:
    for name, seed in (("real", 1), ("fake", 2)):
        (tmp_path / name).mkdir()
        for index, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (50, 16, 16, 3), np.uint8)):
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    result = api.measure(tmp_path / "real", tmp_path / "fake", ["pixel8"])
    assert result.metrics["fd_pixel8"] > 0 and result.protocol["fd_pixel8"]["extractor"] == "pixel8"
    same = api.measure(tmp_path / "real", tmp_path / "real", ["pixel8"])
    assert same.metrics["fd_pixel8"] == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)


TINY = {"kimg": 0.08, "batch_size": 8, "width": 4, "ticks": 2, "tracker": "pixel8", "tracker_images": 32}


def test_pictures_become_tensors_and_back(pictures: np.ndarray) -> None:
    images = api.to_tensor(pictures)
    assert images.shape == (40, 3, 16, 16) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert np.array_equal(api.to_pictures(images), pictures)
    assert api.sheet(pictures[:5], columns=4).size == (4 * (64 + 2) + 2, 2 * (64 + 2) + 2)


def test_prepare_makes_square_pictures_without_duplicates(tmp_path: Path, pictures: np.ndarray) -> None:
    (tmp_path / "mine").mkdir()
    for index, pixels in enumerate([*pictures, pictures[0]]):
        Image.fromarray(np.concatenate([pixels] * 2)).save(tmp_path / f"mine/{index}.png")
    settings = {"name": "folder", "path": str(tmp_path / "mine"), "image_size": 8}
    made = api.prepare(tmp_path / "data", **settings, holdout=0.2)
    held_out = np.load(tmp_path / "data/packed/holdout.npy")
    assert made.shape[1:] == (8, 8, 3) and len(made) + len(held_out) == 40 and len(held_out)
    with pytest.raises(GanealogyError, match=r"the arguments: unknown key 'dataset\.size'"):
        api.prepare(tmp_path / "data", **settings, size=8)


def test_networks_are_those_of_the_version_and_the_seed() -> None:
    before = torch.get_rng_state()
    generator, discriminator = api.networks("v8", 16, width=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert generator.generate(3).shape == (3, 16, 16, 3)
    assert np.array_equal(generator.generate(3), api.networks("v8", 16, width=4)[0].generate(3))
    assert not np.array_equal(generator.generate(3), api.networks("v8", 16, width=4, seed=1)[0].generate(3))
    table = api.layers(discriminator, torch.zeros(2, 3, 16, 16))
    assert table["kind"][0] == "Conv2d 4x4, stride 2, padding 1, spectral norm" and table["shape"][0] == (4, 8, 8)
    assert table["trained"].sum() == _build.parameter_count(discriminator)
    with pytest.raises(GanealogyError, match=r"v1\.yaml: dcgan"):
        api.networks("v1", 17)


def test_a_training_without_a_project(tmp_path: Path, pictures: np.ndarray) -> None:
    training = api.train("v1", pictures, tmp_path / "one", **TINY)
    assert training.status == "finished" and training.curves["step"].tolist() == [0, 5, 10]
    assert [path.name for path in training.grids] == ["000000.png", "000005.png", "000010.png"]
    made = training.load_generator().generate(4)
    assert made.shape == (4, 16, 16, 3)
    again = api.train("v1", pictures, tmp_path / "two", **TINY)
    assert np.array_equal(made, again.load_generator("last").generate(4)), "the same bytes when repeated"
    other = api.train("v1", pictures, tmp_path / "three", seed=1, **TINY)
    assert not np.array_equal(made, other.load_generator().generate(4))


def test_an_interrupted_training_goes_on(tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.train("v1", pictures, tmp_path / "whole", **TINY)
    steps = 0

    def pause(self: object, step: int, scalars: object) -> None:
        nonlocal steps
        steps += 1
        if step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ganealogy.stages._training_progress.TrainingProgress.on_step", pause)
        with pytest.raises(KeyboardInterrupt):
            api.train("v1", pictures, tmp_path / "part", **TINY)
    assert steps == 7 and api.Training(tmp_path / "part").status == "running"
    part = api.train("v1", pictures, tmp_path / "part", **TINY)
    assert part.curves.equals(whole.curves)
    assert np.array_equal(part.load_generator().generate(4), whole.load_generator().generate(4))


def test_a_training_names_what_cannot_be_used(tmp_path: Path, pictures: np.ndarray) -> None:
    folder = tmp_path / "one"
    api.train("v1", pictures, folder, **TINY)
    for change, named in (
        ({"version": "v3"}, "version and recipe"),
        ({"width": 8}, "protocol"),
        ({"pictures": pictures[::-1]}, "data"),
        ({"seed": 1}, "seed"),
    ):
        arguments: dict[str, Any] = {"version": "v1", "pictures": pictures, "folder": folder, **TINY, **change}
        with pytest.raises(GanealogyError, match=f"holds a training with another {named}: name another folder"):
            api.train(**arguments)
    for wrong in (pictures[:, :8], pictures.astype(np.float32), pictures[0], pictures[..., :2]):
        with pytest.raises(GanealogyError, match=r"give square ones, uint8 \(N, H, H, 1 or 3\)"):
            api.train("v1", wrong, tmp_path / "two", **TINY)
    with pytest.raises(GanealogyError, match=r"unknown key 'train\.tick'"):
        api.train("v1", pictures, tmp_path / "two", **TINY, tick=2)
    with pytest.raises(GanealogyError, match=r"run\.json: no such file"):
        _ = api.Training(tmp_path / "two").status
