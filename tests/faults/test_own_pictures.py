"""A user's own pictures through DVC: changes are noticed, nothing is deleted, and every remedy works as typed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.pipeline import Workspace, fresh, ran
from PIL import Image

from ganealogy.data import user_files


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(path)


def counts(workspace: Workspace) -> dict[str, int]:
    found: dict[str, int] = json.loads((workspace.path / "data/packed/manifest.json").read_text())["counts"]
    return found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with 60 pictures in two class folders, after `dvc repro preprocess`, committed."""
    workspace = fresh(tmp_path_factory.mktemp("own") / "pictures of mine")
    for index in range(60):
        draw(workspace.path / f"photos/{('cats', 'dogs')[index % 2]}/{index}.png", index)
    workspace.edit("params.yaml", "name: avatars", "name: folder\n  path: photos")
    workspace.edit("params.yaml", "count: 300 ", "count: null ")
    workspace.dvc("repro", "preprocess")
    (workspace.path / ".git/info/exclude").write_text("/photos\n")
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-q", "-m", "first")
    return workspace


@pytest.fixture
def workspace(started: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(started.path, tmp_path / "my work", symlinks=True)
    return Workspace(tmp_path / "my work")


def test_changed_pictures_reach_the_manifest_and_changed_back_they_come_from_the_run_cache(
    workspace: Workspace,
) -> None:
    before = json.loads((workspace.path / "data/packed/manifest.json").read_text())
    kept = workspace.path.parent / "kept"
    shutil.copytree(workspace.path / "photos", kept)
    for index in range(20):
        (workspace.path / f"photos/{('cats', 'dogs')[index % 2]}/{index}.png").unlink()
    for index in range(100, 130):
        draw(workspace.path / f"photos/cats/{index}.png", index)
    output = workspace.dvc("repro", "preprocess")
    assert ran(output) == ["inputs", "download", "preprocess"] and counts(workspace)["found"] == 70
    workspace.ganealogy("plan")  # by hand
    shutil.rmtree(workspace.path / "photos")
    shutil.copytree(kept, workspace.path / "photos")
    assert "is cached - skipping run" in workspace.dvc("repro", "preprocess")
    assert json.loads((workspace.path / "data/packed/manifest.json").read_text()) == before


@pytest.mark.parametrize("stage", ["download", "train@v3"])
def test_a_change_is_noticed_by_every_form_of_dvc_repro(stage: str, workspace: Workspace) -> None:
    draw(workspace.path / "photos/dogs/1.png", 300)
    assert ran(workspace.dvc("repro", "--dry", stage))[0] == "inputs"
    workspace.dvc("repro", "inputs")
    assert "download" in ran(workspace.dvc("repro", "--dry", stage))


def test_after_an_error_about_a_picture_removing_it_helps(workspace: Workspace) -> None:
    bad = [workspace.path / f"photos/cats/bad {index}.png" for index in range(9)]
    for path in bad:
        path.write_text("no picture")
    output = workspace.dvc("repro", "preprocess", check=False)
    assert "9 of 69 pictures cannot be used" in output and "fix the pictures or raise max_rejected" in output
    for path in bad:
        path.unlink()
    workspace.dvc("repro", "preprocess")
    assert counts(workspace)["found"] == 60


def test_a_damaged_archive_in_data_raw_is_repaired_by_the_command_in_the_message(workspace: Workspace) -> None:
    archive = workspace.path / "data/raw/pictures.zip"
    archive.chmod(0o644)
    archive.write_bytes(archive.read_bytes()[:-30])
    failed = workspace.ganealogy("preprocess")
    assert failed.returncode == 2 and "run `dvc repro download`" in failed.stdout, failed.stdout
    workspace.dvc("repro", "download")
    assert workspace.ganealogy("preprocess").returncode == 0


FOREIGN = ["data/raw/mine/1.png", "data/packed/notes.txt", "build/runs/v1/train/notes.txt", "build/plan/notes.txt"]


def test_files_beside_a_stages_are_refused_and_kept_by_every_command(workspace: Workspace) -> None:
    for name in FOREIGN:
        (workspace.path / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.path / name).write_text("mine")
    workspace.edit("params.yaml", "holdout: 0.2", "holdout: 0.3")
    draw(workspace.path / "photos/cats/0.png", 400)
    said = ""
    for command in (["repro", "-f", "download"], ["repro", "train@v1"], ["checkout"]):
        output = workspace.dvc(*command, check=False)
        assert "not written by a stage" in output or "Can't remove the following unsaved files" in output, output
        assert [(workspace.path / name).read_text() for name in FOREIGN] == ["mine"] * len(FOREIGN), command
    for verb in ("plan", "repro"):
        said = workspace.ganealogy(verb).stdout
        assert "not written by a stage" in said, said
        assert [(workspace.path / name).read_text() for name in FOREIGN] == ["mine"] * len(FOREIGN), verb
    [command_to_move] = set(re.findall("move it: `(.*)`", said))
    workspace.run("bash", "-c", command_to_move)
    assert ran(workspace.dvc("repro", "preprocess"))[-1] == "preprocess"
    kept = [path for path in (workspace.path / "kept").rglob("*") if path.is_file()]
    assert [path.read_text() for path in kept] == ["mine"] * len(FOREIGN)


@pytest.mark.parametrize("path", ["data/raw/mine.zip", "data"])
def test_a_path_that_dvc_would_empty_is_refused_before_anything_is_deleted(path: str, workspace: Workspace) -> None:
    place = workspace.path / path
    if place.suffix:
        shutil.make_archive(str(place.with_suffix("")), "zip", workspace.path / "photos")
    else:
        shutil.copytree(workspace.path / "photos", place / "set")
    before = sorted(workspace.path.joinpath("data").rglob("*"))
    workspace.edit("params.yaml", "path: photos", f"path: {path}")
    output = workspace.dvc("repro", "preprocess", check=False)
    assert f"dataset.path = '{path}' is " in output, output
    assert sorted(workspace.path.joinpath("data").rglob("*")) == before
    moved = "photos"
    if remedy := re.findall("move it, `(.*)`, and set dataset.path to (.*)", output):
        workspace.run("bash", "-c", remedy[0][0])
        moved = remedy[0][1]
    else:
        shutil.rmtree(place / "set")
    workspace.edit("params.yaml", f"path: {path}", f"path: {moved}")
    workspace.dvc("repro", "preprocess")
    assert counts(workspace)["found"] >= 60


def test_a_clone_without_the_pictures_goes_on_with_what_dvc_has(workspace: Workspace, tmp_path: Path) -> None:
    workspace.dvc("remote", "add", "-d", "shared", str(tmp_path / "remote"))
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-q", "-m", "remote")
    workspace.dvc("push")
    workspace.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone")
    clone.dvc("pull", "--allow-missing")
    clone.edit("versions/v3.yaml", "One-sided label smoothing", "Smoothing on one side")
    output = clone.dvc("repro", "preprocess")
    assert ran(output) == ["inputs", "plan"] and "the record in data/inputs.json stays" in output
    assert counts(clone)["found"] == 60
    (clone.path / "photos").mkdir()  # a disk that is not mounted
    assert ran(clone.dvc("repro", "preprocess")) == ["inputs"] and (clone.path / "data/raw/pictures.zip").exists()


def test_outputs_of_all_stages_are_their_own(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    user_files.check_outputs()
    for output in ("data/raw", *user_files.OWN):
        assert any(Path(output).rglob("*")), f"{output} is empty"
