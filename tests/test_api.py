"""ganealogy.api, as its documentation shows it."""

from __future__ import annotations

from pathlib import Path

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
