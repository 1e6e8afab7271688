"""Each message that names a command is read, its command is typed, and the fault is gone.

Every fault is a flipped bit that leaves size and time as they were, as a failing disk does: DVC does not see it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import pipeline, trainings
from helpers.pipeline import Workspace
from PIL import Image

from ganealogy import api
from ganealogy.errors import GanealogyError
from ganealogy.workspace import STORE

PARAMS = (
    "dataset: {name: folder, path: pictures, image_size: 16, holdout: 0.2}\n"
    "tree: {versions: [v1], seeds: [0]}\n"
    "train: {kimg: 0.032, batch_size: 8, lr: 0.0002, width: 4, ticks: 2, tracker: pixel8, tracker_images: 32, "
    "device: cpu, threads: 1}\n"
    "sample: {count: 50, walk_frames: 8, sets: 1}\n"
    "evaluate: {extractors: [pixel8], lead: fd_pixel8, reals: 64}\n"
)
RUN = "build/runs/v1"
WEIGHTS = f"{RUN}/train/0/weights/generator-last.safetensors"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project in which `dvc repro evaluate@v1` has run."""
    workspace = pipeline.fresh(tmp_path_factory.mktemp("remedies") / "project")
    (workspace.path / "params.yaml").write_text(PARAMS)
    (workspace.path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(90):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(workspace.path / f"pictures/{index}.png")
    workspace.dvc("repro", "evaluate@v1", GANEALOGY_JOBS="0")
    return workspace


@pytest.fixture
def project(finished: Workspace) -> Workspace:
    """The project, without what the store has of later stages, so that there is something to make."""
    for stage in ("sample", "evaluate"):
        shutil.rmtree(finished.path / STORE / stage, ignore_errors=True)
    return finished


def flip(path: Path) -> None:
    """Flip a bit in the middle; size, times and inode stay."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def scramble(path: Path) -> None:
    """Make a record unreadable; its size and times stay."""
    status = path.stat()
    path.write_bytes(b"[" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def quoted(line: str, path: str) -> list[str]:
    """Return the command of a message about `path`, without the stage's own about failed seeds."""
    assert path in line, line
    return re.findall(r"run `(dvc [^`]+)`", line)[0].split()


CASES = [
    (WEIGHTS, "sample v1", flip),
    (f"{RUN}/sample/0/images.npy", "evaluate v1", flip),
    (f"{RUN}/train/0/run.json", "sample v1", scramble),
    ("data/reference/pixel8.npz", "evaluate v1", flip),
    ("data/reference/anchors.json", "evaluate v1", scramble),
    ("data/packed/train.npy", "reference", flip),
    ("build/plan/versions/v1.json", "sample v1", scramble),
]


@pytest.mark.parametrize(("path", "verb", "damage"), CASES, ids=[case[0] for case in CASES])
def test_the_command_of_a_message_about_a_damaged_file_repairs_it(
    path: str, verb: str, damage: Callable[[Path], None], project: Workspace
) -> None:
    file = project.path / path
    before = file.read_bytes()
    damage(file)
    assert file.read_bytes() != before, "the fault did not fire"
    code, said = trainings.run(trainings.verb, project.path, *verb.split())
    [line] = [line for line in said.splitlines() if line.startswith("ganealogy: ")]
    assert code == 2, said
    command = quoted(line, path)
    project.run(*command, GANEALOGY_JOBS="0")
    assert file.read_bytes() == before, f"{' '.join(command)} did not repair {path}"
    code, said = trainings.run(trainings.verb, project.path, *verb.split())
    assert code == 0, said


@pytest.mark.parametrize(("path", "verb"), [(WEIGHTS, "sample v1"), ("data/reference/pixel8.npz", "evaluate v1")])
def test_the_command_of_a_message_about_an_absent_file_repairs_it(path: str, verb: str, project: Workspace) -> None:
    (project.path / path).unlink()
    code, said = trainings.run(trainings.verb, project.path, *verb.split())
    assert code == 2, said
    command = quoted(said, path)
    project.run(*command, GANEALOGY_JOBS="0")
    assert (project.path / path).is_file()
    code, said = trainings.run(trainings.verb, project.path, *verb.split())
    assert code == 0, said


def test_a_tree_of_an_older_release_is_named_and_planning_repairs_it(project: Workspace) -> None:
    from ganealogy.tracking.context import Context

    tree = project.path / "build/plan/tree.json"
    before = tree.read_bytes()
    status = tree.stat()
    for damage in (b'"seeds"', b'"versions"', b'"dataset"'):
        tree.write_bytes(before.replace(damage, b'"' + b"x" * (len(damage) - 2) + b'"'))
        os.utime(tree, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(GanealogyError, match=r"tree\.json: lacks .*; run `dvc repro") as error:
            Context.load(None, project.path)
        if damage != b'"dataset"':  # the table of runs does not need it
            with pytest.raises(GanealogyError, match=r"tree\.json: lacks .*; run `dvc repro"):
                api.runs(project.path)
    project.run(*quoted(str(error.value), "tree.json"), GANEALOGY_JOBS="0")
    assert tree.read_bytes() == before and len(api.runs(project.path)) == 1
