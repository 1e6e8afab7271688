"""The inputs stage: what DVC does not see is noticed, and a machine without it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.own_project import components_of
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


def same_size_and_time(path: Path, write: Callable[[Path], Any]) -> None:
    """Change a file as a program does that restores the times."""
    status = path.stat()
    write(path)
    content = path.read_bytes()[: status.st_size]
    path.write_bytes(content.ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def replaced(path: Path) -> None:
    """Put another file of the same size and times in the place of one."""
    other = path.with_name("other")
    shutil.copy2(path, other)
    same_size_and_time(other, lambda file: file.write_bytes(bytes(file.stat().st_size)))
    other.replace(path)


CHANGES |= {
    "redrawn with the same size and time": lambda folder: same_size_and_time(
        folder / "cats/1.png", lambda file: draw(file, 8)
    ),
    "replaced by a file of the same size and time": lambda folder: replaced(folder / "cats/1.png"),
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
    assert first["package"] and first["own_components"] is None
    (installed / "files" / "atomic.py").write_text("# edited\n")
    (project / "components/adversary/losses").mkdir(parents=True)
    (project / "components/adversary/losses/mine.py").write_text("x = 1\n")
    with components_of(project):
        second = inputs.run()
        assert second["package"] != first["package"] and second["own_components"]
        monkeypatch.setattr(fingerprint, "SOURCE", project / "src" / "ganealogy")
        assert inputs.run()["package"] is None, "in a checkout DVC and git see it"


def test_the_record_is_plain_and_stable(project: Path) -> None:
    inputs.run()
    content = json.loads(INPUTS.read_text())
    assert sorted(content) == ["classes", "mirror", "noise", "own_components", "package", "pictures", "weights"]
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


@pytest.mark.parametrize("archive", ["zip", "gztar"])
def test_a_replaced_archive_of_the_same_size_and_time_is_noticed(archive: str, project: Path) -> None:
    path = Path(shutil.make_archive("pictures", archive, project / "my pictures"))
    settings(f"dataset: {{name: folder, path: {path}, image_size: 16}}")
    before = inputs.run()
    content = path.read_bytes()
    draw(project / "my pictures/cats/0.png", 50)
    same_size_and_time(path, lambda file: shutil.make_archive("pictures", archive, project / "my pictures"))
    assert path.read_bytes() != content
    with contextlib.suppress(GanealogyError):  # the end was cut off
        assert inputs.run()["pictures"]["sha256"] != before["pictures"]["sha256"]


def test_the_mirror_of_the_environment_counts_and_its_absence_does_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings("dataset: {name: mnist, image_size: 28, channels: 1}")
    assert inputs.run()["mirror"] is None
    (project / "mirror/mnist").mkdir(parents=True)
    file = project / "mirror/mnist/t10k-labels-idx1-ubyte.gz"
    file.write_bytes(b"12345")
    monkeypatch.setenv("GANEALOGY_MIRROR", str(project / "mirror"))
    first = inputs.run()["mirror"]
    same_size_and_time(file, lambda path: path.write_bytes(b"54321"))
    second = inputs.run()["mirror"]
    assert first and second and first != second
    monkeypatch.delenv("GANEALOGY_MIRROR")
    assert inputs.run()["mirror"] == second, "a machine without the mirror repeats no download"
    settings("dataset: {name: avatars, image_size: 16}")
    assert inputs.run()["mirror"] is None, "of another data set"


def test_changed_weights_of_the_same_size_and_time_are_noticed(project: Path) -> None:
    weights = project / "build/weights/clip.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"one")
    settings("dataset: {name: avatars, image_size: 16}", "[pixel8, clip]")
    first = inputs.run()["weights"]
    same_size_and_time(weights, lambda path: path.write_bytes(b"two"))
    assert inputs.run()["weights"] != first


def test_an_empty_folder_keeps_the_record_as_an_absent_one_does(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inputs.run()
    shutil.rmtree(project / "my pictures")
    (project / "my pictures").mkdir()  # a disk that is not mounted
    assert inputs.run() == before and "no pictures in it" in capsys.readouterr().err
    INPUTS.unlink()
    with pytest.raises(GanealogyError, match="no pictures in it; add"):
        inputs.run()
    draw(project / "my pictures/1.png", 1)
    assert inputs.run()["pictures"]["files"] == 1


@pytest.mark.parametrize(
    ("names", "classes"),
    [(["a/1", "b/1"], 2), (["a/1", "a/2"], 0), (["x/c/1", "x/b/1", "x/a/y/1"], 3), (["1", "b/1"], 0)],
)
def test_class_folders_are_counted(names: list[str], classes: int, project: Path) -> None:
    shutil.rmtree(project / "my pictures")
    for seed, name in enumerate(names):
        draw(project / "my pictures" / f"{name}.png", seed)
    assert inputs.run()["classes"] == classes == inputs.classes(inputs.schema.load())
    archive = shutil.make_archive("photos", "gztar", project / "my pictures")
    settings(f"dataset: {{name: folder, path: {archive}, image_size: 16}}")
    assert inputs.run()["classes"] == classes == inputs.run()["classes"]
    Path(archive).unlink()
    assert inputs.run()["classes"] == classes == inputs.classes(inputs.schema.load()), "the record stands for it"


def test_names_that_are_no_text_are_read_once(project: Path) -> None:
    (project / "my pictures" / "\udcff.png").write_bytes((project / "my pictures/cats/0.png").read_bytes())
    assert inputs.run()["pictures"]["files"] == 5
    assert "%FF.png" in KNOWN_FILES.read_text()


def test_a_hostile_archive_is_refused_before_anything_is_emptied(project: Path) -> None:
    with zipfile.ZipFile("mine.zip", "w") as archive:
        archive.writestr("../evil.png", b"x")
    settings("dataset: {name: folder, path: mine.zip, image_size: 16}")
    with pytest.raises(GanealogyError, match=r"mine\.zip: refused"):
        inputs.run()
