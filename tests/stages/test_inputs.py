"""The inputs stage: what DVC does not see is noticed, and a machine without it goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.lineage import fingerprint
from ganealogy.stages import inputs
from ganealogy.workspace import INPUTS, KNOWN_FILES, NOISE


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "GANEALOGY_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    pictures = tmp_path / "my pictures"
    for index in range(4):
        draw(pictures / "cats" / f"{index}.png", index)
    settings("dataset: {name: folder, path: my pictures, image_size: 16}")
    return tmp_path


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(path)


def settings(dataset: str, extractors: str = "[pixel8]") -> None:
    Path("params.yaml").write_text(
        f"{dataset}\ntree: {{versions: [v1], seeds: [0]}}\ntrain: {{kimg: 1, batch_size: 8, lr: 0.0002}}\n"
        f"evaluate: {{extractors: {extractors}}}\n"
    )


CHANGES: dict[str, Callable[[Path], Any]] = {
    "added": lambda folder: draw(folder / "new.png", 9),
    "removed": lambda folder: (folder / "cats/1.png").unlink(),
    "renamed": lambda folder: (folder / "cats/1.png").rename(folder / "cats/one.png"),
    "redrawn": lambda folder: draw(folder / "cats/1.png", 7),
    "moved": lambda folder: (folder / "cats").rename(folder / "dogs"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_are_noticed_and_changed_back_are_the_same(change: str, project: Path) -> None:
    before = inputs.run()["pictures"]
    kept = project / "kept"
    shutil.copytree(project / "my pictures", kept)
    CHANGES[change](project / "my pictures")
    assert inputs.run()["pictures"] != before
    shutil.rmtree(project / "my pictures")
    shutil.copytree(kept, project / "my pictures", copy_function=shutil.copyfile)  # other times, the same pictures
    assert inputs.run()["pictures"] == before


def test_what_is_no_picture_does_not_count(project: Path) -> None:
    before = inputs.run()
    (project / "my pictures" / "notes.txt").write_text("hello")
    assert inputs.run() == before


def test_unchanged_pictures_are_not_read_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs.run()
    stamp = INPUTS.stat().st_mtime_ns
    read: list[str] = []
    sha256 = inputs.atomic.sha256

    def counted(path: Path) -> str:
        read.append(str(path))
        return sha256(path)

    monkeypatch.setattr(inputs.atomic, "sha256", counted)
    inputs.run()
    assert not [path for path in read if "my pictures" in path] and INPUTS.stat().st_mtime_ns == stamp
    (project / KNOWN_FILES).write_text("damaged")
    inputs.run()
    found = [path for path in read if "my pictures" in path]
    assert len(found) == 4, "a damaged list of known files costs time only"


def test_a_machine_without_the_pictures_keeps_the_record(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = inputs.run()
    shutil.rmtree(project / "my pictures")
    assert inputs.run() == before
    assert "no such directory" in capsys.readouterr().err
    settings("dataset: {name: folder, path: others, image_size: 16}")
    with pytest.raises(GanealogyError, match="no such directory"):
        inputs.run()


def test_a_zip_is_an_input_too(project: Path) -> None:
    archive = shutil.make_archive("pictures", "zip", project / "my pictures")
    settings(f"dataset: {{name: folder, path: {archive}, image_size: 16}}")
    before = inputs.run()["pictures"]
    draw(project / "my pictures" / "new.png", 9)
    shutil.make_archive("pictures", "zip", project / "my pictures")
    assert inputs.run()["pictures"]["sha256"] != before["sha256"]


def test_an_unreadable_picture_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(inputs.atomic, "sha256", refuse)
    with pytest.raises(GanealogyError, match=r"0\.png: cannot be read \(Permission denied\)"):
        inputs.run()


def test_a_public_set_has_a_mirror_and_no_pictures(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = project / "mirror"
    mirror.mkdir()
    settings("dataset: {name: mnist, mirror: mirror, image_size: 28, channels: 1}")
    assert inputs.run()["pictures"] is None and inputs.run()["mirror"] is None
    name = "train-images-idx3-ubyte.gz"
    (mirror / name).write_bytes(b"12345")
    (mirror / "notes.txt").write_bytes(b"not of MNIST")
    before = inputs.run()["mirror"]
    assert list(before) == [name]
    (mirror / name).write_bytes(b"54321")
    after = inputs.run()["mirror"]
    assert after != before, "of the same size"
    shutil.rmtree(mirror)
    assert inputs.run()["mirror"] == after and "no such directory" in capsys.readouterr().err


def test_weights_count_where_they_are_used(project: Path) -> None:
    weights = project / "build/weights"
    weights.mkdir(parents=True)
    (weights / "clip.safetensors").write_bytes(b"one")
    assert inputs.run()["weights"] == {}
    settings("dataset: {name: avatars, image_size: 16}", "[pixel8, clip]")
    first = inputs.run()["weights"]
    assert list(first) == ["clip.safetensors"]
    (weights / "clip.safetensors").write_bytes(b"other")
    assert inputs.run()["weights"] != first
    (weights / "clip.safetensors").unlink()
    assert list(inputs.run()["weights"]) == ["clip.safetensors"], "absent here: the record stays"


def test_an_installed_package_and_own_components_count(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path_factory.mktemp("site-packages") / "ganealogy"
    shutil.copytree(fingerprint.SOURCE / "files", installed / "files")
    monkeypatch.setattr(fingerprint, "SOURCE", installed)
    first = inputs.run()
    assert first["package"] and first["components"] is None
    (installed / "files" / "atomic.py").write_text("# edited\n")
    (project / "components").mkdir()
    (project / "components" / "loss.py").write_text("x = 1\n")
    second = inputs.run()
    assert second["package"] != first["package"] and second["components"]
    monkeypatch.setattr(fingerprint, "SOURCE", project / "src" / "ganealogy")
    assert inputs.run()["package"] is None, "in a checkout DVC and git see it"


def test_the_record_is_plain_and_stable(project: Path) -> None:
    inputs.run()
    content = json.loads(INPUTS.read_text())
    assert sorted(content) == ["classes", "components", "mirror", "noise", "package", "pictures", "weights"]
    assert content["pictures"]["files"] == 4 and content["pictures"]["path"] == "my pictures"
    assert str(project) not in INPUTS.read_text(), "the same on every machine"
    INPUTS.write_text("damaged")
    os.utime("my pictures/cats/0.png")
    assert inputs.run() == content


def test_the_record_of_the_noise_is_noticed() -> None:
    assert inputs.run()["noise"] is None
    NOISE.parent.mkdir()
    NOISE.write_text("{}")
    first = inputs.run()["noise"]
    NOISE.write_text('{"version": "v1"}')
    assert first and inputs.run()["noise"] not in (None, first)
    NOISE.unlink()
    assert inputs.run()["noise"] is None
