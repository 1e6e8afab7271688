"""The sample stage with a tiny untrained generator: its files, shared latents, and runs without pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fake_runs import recipe, run_json, write_run
from PIL import Image
from safetensors.torch import save_file

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.images import TILE
from ganealogy.networks import _build
from ganealogy.networks._build import load_generator
from ganealogy.sampling import latents, sample
from ganealogy.sampling.generate import generate
from ganealogy.workspace import RunDir, run_dir

SETTINGS = {
    "count": 24,
    "checkpoint": "best",
    "sets": 1,
    "temperature": 1.0,
    "batch_statistics": "running",
    "walk_frames": 8,
}


def recipe_of(dcgan: dict[str, Any]) -> dict[str, Any]:
    return {**recipe(), "generator": dcgan, "latent": {"size": 12, "distribution": "normal"}}


NAMES = ("generator-best", "generator-last")
RECIPE = recipe_of({"name": "dcgan"})
PROTOCOL = {"image_size": 16, "channels": 3, "width": 4}


def make_run(folder: Path, version: str = "v1", seed: int = 0, **facts: Any) -> RunDir:
    run = run_dir(version, seed, folder)
    protocol = facts.pop("protocol", PROTOCOL)
    end = {"best": {"step": 30, "kimg": 1.5, "score": 9.0}, "steps": 40, "kimg": 2.0}
    write_run(run, run_json(version, seed, **({"recipe": RECIPE, "protocol": protocol} | end | facts)))
    torch.manual_seed(seed)
    for checkpoint in ("best", "last"):
        state = {name: tensor.contiguous() for name, tensor in _build.generator(RECIPE, protocol).state_dict().items()}
        path = run / f"train/weights/generator-{checkpoint}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, path)
    return run


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_array_sheets_animation_and_record_are_written(tmp_path):
    run = make_run(tmp_path, seed=3)
    record = sample.sample(run, SETTINGS)
    assert record == json.loads((run / "sample/sample.json").read_text())
    images = np.load(run / "sample/images.npy", allow_pickle=False)
    assert images.dtype == np.uint8 and images.shape == (24, 16, 16, 3)
    assert record["sha256"] == atomic.sha256(run / "sample/images.npy")
    assert (record["version"], record["seed"], record["count"], record["step"]) == ("v1", 3, 24, 30)
    with Image.open(run / "sample/walk.webp") as walk:
        assert walk.format == "WEBP" and walk.info["loop"] == 0
        assert 1 < walk.n_frames <= 8  # WebP merges equal frames
    for name in ("grid.png", "strip.png"):
        with Image.open(run / f"sample/{name}") as sheet:
            assert sheet.width > 8 * TILE


def test_sampling_twice_gives_the_same_bytes(tmp_path):
    first, second = (make_run(tmp_path / name) for name in ("a", "b"))
    sample.sample(first, SETTINGS), sample.sample(second, SETTINGS)
    for path in (first / "sample").iterdir():
        assert path.read_bytes() == (second / f"sample/{path.name}").read_bytes()


def test_pictures_do_not_depend_on_their_number(tmp_path):
    """In training mode BatchNorm would make an image depend on its batch."""
    few, many = make_run(tmp_path / "few"), make_run(tmp_path / "many")
    sample.sample(few, SETTINGS | {"count": 16})
    sample.sample(many, SETTINGS | {"count": 240})
    few_images, many_images = (np.load(run / "sample/images.npy").astype(int) for run in (few, many))
    assert np.abs(few_images - many_images[:16]).max() <= 1  # the last bit may differ between batch sizes


def test_versions_and_seeds_share_their_latents(tmp_path, monkeypatch):
    calls = []
    generate = sample.generate
    monkeypatch.setattr(sample, "generate", lambda network, z, labels: calls.append(z.clone()) or generate(network, z))
    sample.sample(make_run(tmp_path, "v1", 0), SETTINGS)
    half = len(calls)
    sample.sample(make_run(tmp_path, "v2", 7), SETTINGS)
    for first, second in zip(calls[:half], calls[half:], strict=True):
        assert torch.equal(first, second)


def test_temperature_scales_the_latents(tmp_path, monkeypatch):
    calls = []
    generate = sample.generate
    monkeypatch.setattr(sample, "generate", lambda network, z, labels: calls.append(z.clone()) or generate(network, z))
    run = make_run(tmp_path)
    sample.sample(run, SETTINGS)
    record = sample.sample(run, SETTINGS | {"temperature": 0.5})
    half = len(calls) // 2
    for full, scaled in zip(calls[:half], calls[half:], strict=True):
        torch.testing.assert_close(scaled, full / 2, atol=1e-5, rtol=1e-4)
    assert record["temperature"] == 0.5


def test_standing_statistics_are_measured_at_the_temperature_of_the_samples(tmp_path, monkeypatch):
    use, given = sample.standing_statistics.use_standing_statistics, []
    monkeypatch.setattr(
        sample.standing_statistics,
        "use_standing_statistics",
        lambda network, z, labels: given.append(z) or use(network, z, labels),
    )
    run, pictures = make_run(tmp_path), []
    for changed in ({}, {"batch_statistics": "standing"}, {"batch_statistics": "standing", "temperature": 0.5}):
        record = sample.sample(run, SETTINGS | changed)
        assert record["batch_statistics"] == changed.get("batch_statistics", "running")
        pictures.append(np.load(run / "sample/images.npy"))
    assert len(given) == 4, "for best and for last"
    assert torch.equal(given[0], given[1]) and torch.equal(given[2], given[0] / 2) and len(given[0]) == 1600
    assert not np.array_equal(pictures[0], pictures[1])
    assert sample.sample(run, SETTINGS | changed)["sha256"] == record["sha256"], "the same again"


def test_the_last_checkpoints_record_has_the_last_step(tmp_path):
    record = sample.sample(make_run(tmp_path), SETTINGS | {"checkpoint": "last"})
    assert (record["checkpoint"], record["step"], record["kimg"]) == ("last", 40, 2.0)


def test_each_set_has_latents_of_its_own_and_the_first_is_that_of_one_set(tmp_path):
    one, three = make_run(tmp_path / "one"), make_run(tmp_path / "three")
    sample.sample(one, SETTINGS)
    record = sample.sample(three, SETTINGS | {"sets": 3})
    assert (one / "sample/images.npy").read_bytes() == (three / "sample/images.npy").read_bytes()
    assert [each["file"] for each in record["repeats"]] == ["images-2.npy", "images-3.npy"]
    network = load_generator(three / "train/weights/generator-best.safetensors", RECIPE, PROTOCOL)
    for each in record["repeats"]:
        path = three / f"sample/{each['file']}"
        assert each["sha256"] == atomic.sha256(path)
        rng = torch.Generator().manual_seed(each["latent_seed"])
        assert np.array_equal(np.load(path), generate(network, torch.randn(24, 12, generator=rng)))
    seeds = [record["latent_seed"], *(each["latent_seed"] for each in record["repeats"])]
    assert len({*seeds, latents.GRID_SEED, latents.TRACKER_SEED}) == 5


@pytest.mark.parametrize(("measured", "other", "step"), [("last", "best", 30), ("best", "last", 40)])
def test_the_other_checkpoint_draws_the_same_latents(tmp_path, measured, other, step):
    run = make_run(tmp_path)
    record = sample.sample(run, SETTINGS | {"checkpoint": measured, "sets": 2})
    path = run / f"sample/images-{other}.npy"
    expected = {"checkpoint": other, "step": step, "kimg": step / 20, "file": path.name, "sha256": atomic.sha256(path)}
    assert record["other"] == expected
    network = load_generator(run / f"train/weights/generator-{other}.safetensors", RECIPE, PROTOCOL)
    rng = torch.Generator().manual_seed(record["latent_seed"])
    assert np.array_equal(np.load(path), generate(network, torch.randn(24, 12, generator=rng)))
    assert (run / f"sample/grid-{other}.png").is_file()


def test_equal_weights_are_sampled_once(tmp_path):
    run = make_run(tmp_path)
    for checkpoint in ("best", "last"):
        path = run / f"train/weights/generator-{checkpoint}.safetensors"
        path.write_bytes((run / "train/weights/generator-best.safetensors").read_bytes())
    digest = atomic.sha256(run / "train/weights/generator-best.safetensors")
    write_run(run, run_json(recipe=RECIPE, protocol=PROTOCOL, weights=dict.fromkeys(NAMES, digest)))
    record = sample.sample(run, SETTINGS)
    assert (record["other"]["file"], record["other"]["sha256"]) == ("images.npy", record["sha256"])
    assert not [*run.folders["sample"].glob("*last*")]


def test_a_training_whose_weights_have_no_hash_yet_is_sampled(tmp_path):
    """As where a recipe is measured before its first training."""
    run = make_run(tmp_path)
    trained = json.loads((run / "train/run.json").read_text())
    del trained["weights"]
    atomic.write_json(run / "train/run.json", trained)
    assert sample.sample(run, SETTINGS)["other"]["file"] == "images-last.npy"


def test_a_training_that_diverged_before_its_first_tick_has_no_best(tmp_path):
    run = make_run(tmp_path, status="diverged", best=None)
    (run / "train/weights/generator-best.safetensors").unlink()
    record = sample.sample(run, SETTINGS | {"checkpoint": "last"})
    assert record["count"] == 24 and record["other"] is None
    assert "no best generator" in sample.sample(run, SETTINGS)["reason"]


def test_one_channel_gives_grey_sheets(tmp_path):
    run = make_run(tmp_path, protocol=PROTOCOL | {"channels": 1})
    sample.sample(run, SETTINGS)
    assert np.load(run / "sample/images.npy").shape == (24, 16, 16, 1)
    with Image.open(run / "sample/grid.png") as sheet:
        assert sheet.mode == "L"


@pytest.mark.parametrize("status", ["diverged", "stopped"])
def test_a_run_that_ended_early_with_weights_is_sampled(tmp_path, status):
    assert sample.sample(make_run(tmp_path, status=status), SETTINGS)["count"] == 24


def test_a_diverged_run_without_weights_gets_a_record_with_the_reason(tmp_path):
    run = make_run(tmp_path, status="diverged", best=None)
    for path in (run / "train/weights").iterdir():
        path.unlink()
    record = sample.sample(run, SETTINGS)
    assert record["count"] == 0 and "before the training diverged" in record["reason"]
    assert [path.name for path in (run / "sample").iterdir()] == ["sample.json"]


def test_non_finite_pictures_give_a_record_with_the_reason(tmp_path):
    run = make_run(tmp_path, status="diverged")
    sample.sample(run, SETTINGS)
    state = {
        name: torch.full_like(tensor, torch.nan)
        for name, tensor in _build.generator(RECIPE, PROTOCOL).state_dict().items()
        if tensor.is_floating_point()
    }
    whole = _build.generator(RECIPE, PROTOCOL).state_dict() | state
    save_file(
        {name: tensor.contiguous() for name, tensor in whole.items()}, run / "train/weights/generator-best.safetensors"
    )
    record = sample.sample(run, SETTINGS)
    assert record["count"] == 0 and "not finite" in record["reason"]
    assert [path.name for path in (run / "sample").iterdir()] == ["sample.json"]  # the earlier pictures are deleted


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_an_unfinished_training_is_refused(tmp_path, status):
    command = "dvc repro --force --single-item train@v1"
    with pytest.raises(GanealogyError, match=f"the training is {status}; run `{command}`"):
        sample.sample(make_run(tmp_path, status=status), SETTINGS)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(GanealogyError, match=r"run\.json: no such file"):
        sample.sample(run_dir("v1", 0, tmp_path), SETTINGS)
    run = make_run(tmp_path)
    (run / "train/weights/generator-best.safetensors").unlink()
    with pytest.raises(GanealogyError, match=r"generator-best\.safetensors"):
        sample.sample(run, SETTINGS)


def test_samples_have_the_classes_of_the_training_and_a_row_or_walker_has_one_class(tmp_path, monkeypatch):
    calls = []
    generate = sample.generate
    monkeypatch.setattr(
        sample, "generate", lambda network, z, labels: calls.append(labels) or generate(network, z, labels)
    )
    counts = [10, 0, 20, 30, 0, 0, 0, 0, 0, 0]
    conditional = {"recipe": RECIPE | {"labels": True}, "protocol": PROTOCOL | {"classes": 10}, "class_counts": counts}
    monkeypatch.setitem(RECIPE, "labels", True)
    run = make_run(tmp_path, **conditional)
    assert sample.sample(run, SETTINGS)["count"] == 24
    samples, strip, walk, other = calls
    assert other.tolist() == samples.tolist()
    assert torch.bincount(samples).tolist() == [4, 0, 8, 12]
    assert [set(row.tolist()) for row in strip.split(9)] == [{0}, {1}, {2}, {3}]
    assert walk.tolist() == [*range(9)] * SETTINGS["walk_frames"]
