"""The sheet of a conditional generator: a row per class with its name, a column per latent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.fake_runs import recipe, run_json, write_run
from PIL import Image
from safetensors.torch import save_file

from ganealogy.files.images import grid
from ganealogy.networks import _build
from ganealogy.sampling import latents
from ganealogy.sampling.class_sheet import COLUMNS, ROWS, class_sheet
from ganealogy.sampling.generate import generate
from ganealogy.sampling.sample import sample
from ganealogy.workspace import run_dir

RECIPE = recipe(labels=True, latent={"size": 12})
SETTINGS: Any = {
    "count": 24,
    "checkpoint": "last",
    "sets": 1,
    "temperature": 1.0,
    "batch_statistics": "running",
    "walk_frames": 4,
}


def protocol(classes: int) -> dict[str, Any]:
    return {**run_json()["protocol"], "image_size": 16, "width": 4, "classes": classes}


def generator(classes: int) -> torch.nn.Module:
    """A conditional G whose classes differ."""
    torch.manual_seed(0)
    network = _build.generator(RECIPE, protocol(classes))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Embedding):
                layer.weight.normal_()
    return network.eval()


def test_each_row_is_a_class_and_each_column_a_latent() -> None:
    network, z = generator(3), torch.randn(COLUMNS + 5, 12)
    sheet = class_sheet(network, z, ["cats", "dogs", "owls"])
    rows = [generate(network, z[:COLUMNS], torch.full((COLUMNS,), number)) for number in range(3)]
    expected = grid(np.concatenate(rows).repeat(4, axis=1).repeat(4, axis=2), columns=COLUMNS)
    margin = sheet.width - expected.width
    assert sheet.height == expected.height and margin > 10
    assert np.array_equal(np.asarray(sheet)[:, margin:], np.asarray(expected))
    names = np.array_split(np.asarray(sheet.convert("L"))[:, :margin], 3)
    assert all((row < 128).any() for row in names), "a name at the left of each row"
    assert not np.array_equal(rows[0], rows[1])


def test_the_names_are_drawn_and_cut_off_and_absent_ones_are_numbers() -> None:
    network, z = generator(2), torch.randn(COLUMNS, 12)
    named, other, numbered = (class_sheet(network, z, names) for names in (["cats", "dogs"], ["dogs", "cats"], []))
    assert named.size == other.size and not np.array_equal(np.asarray(named), np.asarray(other))
    assert numbered.width > named.width  # "class 0"
    assert class_sheet(network, z, ["c" * 19, "d"]).width == class_sheet(network, z, ["c" * 17 + "…", "d"]).width
    assert class_sheet(network, z, ["c" * 500, "d"]).width < 2 * named.width


def test_of_many_classes_the_first_are_drawn() -> None:
    few, many = (class_sheet(generator(count), torch.randn(COLUMNS, 12), []) for count in (ROWS, 10 * ROWS))
    assert few.height == many.height


def test_the_sample_stage_draws_it_for_conditional_versions_only(tmp_path: Path) -> None:
    for version, labels in (("v1", False), ("v2", True)):
        run = run_dir(version, 0, tmp_path)
        changed = {**RECIPE, "labels": labels}
        trained = run_json(version, recipe=changed, protocol=protocol(3), steps=40, kimg=2.0, best=None)
        write_run(run, trained | {"class_counts": [8, 8, 8]})
        path = run / "train/weights/generator-last.safetensors"
        path.parent.mkdir(parents=True)
        state = _build.generator(changed, protocol(3)).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        record = sample(run, SETTINGS, class_names=["cats", "dogs", "owls"])
        assert record.get("class_names") == (["cats", "dogs", "owls"] if labels else None)
        assert (run / "sample/classes.png").is_file() == labels
    z = latents.sample_latents(RECIPE["latent"], 24, latents.sample_seed(0))
    expected = class_sheet(_build.load_generator(path, changed, protocol(3)), z, ["cats", "dogs", "owls"])
    with Image.open(run / "sample/classes.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(expected))
