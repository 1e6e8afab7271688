"""`ganealogy generate`: a seed gives a picture, in any number and from any form of the generator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.export import generators, onnx_file, pictures
from ganealogy.tracking import run_record
from ganealogy.workspace import run_dir

CLASSES = {"classes": 3, "class_names": ["cats", "dogs", "owls"]}


def written(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.glob("seed*.png")):
        with Image.open(path) as picture:
            found[path.name] = np.asarray(picture)
    return found


def test_a_seed_gives_the_same_picture_in_any_number(make_run, project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_run()
    generator = generators.find("v1-0", project)
    pictures.write(generator, tmp_path / "many", 9, 3, None, 1.0)
    pictures.write(generator, tmp_path / "one", 1, 7, None, 1.0)
    many, one = written(tmp_path / "many"), written(tmp_path / "one")
    assert list(many) == [f"seed{seed:06}.png" for seed in range(3, 12)]
    assert np.array_equal(one["seed000007.png"], many["seed000007.png"])
    assert len({picture.tobytes() for picture in many.values()}) == 9
    record = json.loads((tmp_path / "many/manifest.json").read_text())
    assert [entry["seed"] for entry in record["pictures"]] == list(range(3, 12))
    assert (record["version"], record["seed"], record["checkpoint"]) == ("v1", 0, "last")
    assert len(record["weights_sha256"]) == 64
    with Image.open(tmp_path / "many/sheet.png") as sheet:
        assert sheet.width > 8 * 32


def test_temperature_brings_pictures_nearer_to_each_other(make_run, project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_run()
    generator = generators.find("v1", project)
    spread = {}
    for temperature in (1.0, 0.2):
        out = tmp_path / str(temperature)
        pictures.write(generator, out, 6, 0, None, temperature)
        spread[temperature] = np.std(np.stack(list(written(out).values())), axis=0).mean()
    assert spread[0.2] < 0.6 * spread[1.0]


def test_a_version_alone_is_its_best_seed(make_run, project: Path) -> None:  # type: ignore[no-untyped-def]
    make_run(seed=0, fd=30.0)
    make_run(seed=1, fd=20.0)
    make_run("v2", seed=0, fd=10.0)
    assert generators.find("v1", project).name == "v1-1"
    assert generators.find("v1-0", project).name == "v1-0"


def test_classes_are_chosen_by_name_or_number_or_taken_in_turn(make_run, project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_run(classes=3, class_names=["cats", "dogs", "owls"])
    generator = generators.find("v1-0", project)
    assert [generator.class_number(name) for name in ("owls", "1")] == [2, 1]
    pictures.write(generator, tmp_path / "owls", 3, 5, 2, 1.0)
    pictures.write(generator, tmp_path / "turn", 6, 5, None, 1.0)
    owls, turn = (json.loads((tmp_path / name / "manifest.json").read_text())["pictures"] for name in ("owls", "turn"))
    assert [entry["class"] for entry in owls] == ["owls"] * 3
    assert [entry["class"] for entry in turn] == ["owls", "cats", "dogs", "owls", "cats", "dogs"]
    assert np.array_equal(written(tmp_path / "owls")["seed000005.png"], written(tmp_path / "turn")["seed000005.png"])
    assert not np.array_equal(
        written(tmp_path / "owls")["seed000006.png"], written(tmp_path / "turn")["seed000006.png"]
    )
    with pytest.raises(GanealogyError, match="--class cows: v1-0 has no such class; known: cats, dogs, owls"):
        generator.class_number("cows")


def test_classes_without_names_have_numbers(make_run, project: Path) -> None:  # type: ignore[no-untyped-def]
    make_run(classes=3)
    with pytest.raises(GanealogyError, match="known: 0 to 2"):
        generators.find("v1-0", project).class_number("a")


def test_an_unconditional_generator_has_no_classes(make_run, project: Path) -> None:  # type: ignore[no-untyped-def]
    make_run()
    with pytest.raises(GanealogyError, match="--class cats: v1-0 has no classes; leave it out"):
        generators.find("v1-0", project).class_number("cats")


@pytest.mark.parametrize("options", [{}, CLASSES, {"network": "mlp", "distribution": "uniform"}])
def test_an_onnx_file_gives_the_same_pictures(
    make_run, project: Path, tmp_path: Path, options: dict[str, object]
) -> None:  # type: ignore[no-untyped-def]
    run = run_record.read(make_run(**options))
    model = onnx_file.export(run, tmp_path / "g.onnx")
    for name, source in (("run", "v1-0"), ("onnx", str(model))):
        pictures.write(generators.find(source, project), tmp_path / name, 5, 40, None, 0.9)
    for one, other in zip(written(tmp_path / "run").values(), written(tmp_path / "onnx").values(), strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert generators.find(str(model), project).class_names == list(run.class_names)
    record = json.loads((tmp_path / "onnx/manifest.json").read_text())
    assert record["weights_sha256"] == json.loads((tmp_path / "run/manifest.json").read_text())["weights_sha256"]


def test_files_of_something_else_stay(make_run, project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_run()
    out = tmp_path / "mine"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    generator = generators.find("v1-0", project)
    with pytest.raises(GanealogyError, match="has files of something else: name a new folder"):
        pictures.write(generator, out, 2, 0, None, 1.0)
    pictures.write(generator, tmp_path / "again", 2, 0, None, 1.0)
    pictures.write(generator, tmp_path / "again", 3, 1, None, 1.0)
    assert len(written(tmp_path / "again")) == 4  # seeds 0 to 3


def test_what_is_no_generator_names_the_forms(make_run, project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_run()
    for source in ("v9", "v9-0", "../v1", "V1"):
        with pytest.raises(GanealogyError, match=r"no such generator; give a version .*Trained here: v1"):
            generators.find(source, project)
    with pytest.raises(GanealogyError, match="no such file"):
        generators.find(str(tmp_path / "absent.onnx"), project)
    (run_dir("v1", 0, project) / "train/weights/generator-last.safetensors").write_bytes(b"damaged")
    with pytest.raises(GanealogyError, match="not a readable weights file"):
        generators.find("v1-0", project)
