"""Damaged and hostile files, and full disks, in stages as DVC runs them: faults 6 to 9."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import trainings
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ganealogy.files import atomic
from ganealogy.stages import plan
from ganealogy.workspace import STORE, run_dir

pytestmark = pytest.mark.timeout(3600)  # each process has its own deadline

RUN = run_dir("v1", 0)
WEIGHTS = RUN / "train/weights/generator-last.safetensors"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "verb"),
    [
        (Path("data/packed/train.npy"), "train v1 --seeds 0"),
        (Path("data/packed/holdout.npy"), "reference"),
        (WEIGHTS, "sample v1 --seeds 0"),
        (RUN / "sample/images.npy", "evaluate v1 --seeds 0"),
        (Path("data/reference/pixel8.npz"), "evaluate v1 --seeds 0"),
    ],
)
def test_a_flipped_bit_is_named_and_nothing_is_computed_from_it(workspace: Path, file: Path, verb: str) -> None:
    """Fault 7."""
    before = atomic.sha256(workspace / file)
    flip(workspace / file)
    assert atomic.sha256(workspace / file) != before, "the fault did not fire"
    made = Path("data/reference") if verb == "reference" else RUN / verb.split()[0]
    shutil.rmtree(workspace / made)  # as DVC does first
    shutil.rmtree(workspace / STORE)  # so that there is something to make
    code, said = trainings.run(trainings.verb, workspace, *verb.split())
    assert code == 2 and str(file) in said and "dvc repro" in said and said.count("\n") == 1, said
    assert not (workspace / made).exists()


class Canary:
    """Creates a file named `pwned` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


CODE = pickle.dumps(Canary())


def test_the_pickle_of_these_tests_runs_if_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the tests below would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(CODE)
    assert (tmp_path / "pwned").exists()


def objects(path: Path) -> None:
    """Return an .npy whose only element is the canary."""
    array = np.empty(1, dtype=object)
    array[0] = Canary()
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=True)


def as_weights(workspace: Path) -> str:
    (workspace / WEIGHTS).write_bytes(CODE)
    run = workspace / (RUN / "train/run.json")
    record = json.loads(run.read_text())
    record["weights"]["generator-last"] = atomic.sha256(workspace / WEIGHTS)
    run.write_text(json.dumps(record))
    return "sample v1 --seeds 0"


def as_samples(workspace: Path) -> str:
    path, record = workspace / (RUN / "sample/images.npy"), workspace / (RUN / "sample/sample.json")
    objects(path)
    record.write_text(json.dumps({**json.loads(record.read_text()), "sha256": atomic.sha256(path)}))
    return "evaluate v1 --seeds 0"


def as_features(workspace: Path) -> str:
    folder = workspace / "data" / "reference"
    objects(folder / "train.npy")
    with zipfile.ZipFile(folder / "pixel8.npz", "w") as archive:
        archive.write(folder / "train.npy", "train.npy")
    (folder / "train.npy").unlink()
    anchors = json.loads((folder / "anchors.json").read_text())
    anchors["sha256"]["pixel8"] = atomic.sha256(folder / "pixel8.npz")
    (folder / "anchors.json").write_text(json.dumps(anchors))
    return "evaluate v1 --seeds 0"


def as_packed(workspace: Path) -> str:
    objects(workspace / "data" / "packed" / "train.npy")
    return "reference"


def as_pictures(workspace: Path) -> str:
    with zipfile.ZipFile(workspace / "data" / "raw" / "pictures.zip", "w") as archive:
        for index in range(20):
            archive.writestr(f"{index}.png", CODE)
    return "preprocess"


@pytest.mark.parametrize("disguise", [as_weights, as_samples, as_features, as_packed, as_pictures])
def test_a_pickle_is_refused_and_does_not_run(workspace: Path, disguise: Callable[[Path], str]) -> None:
    """Fault 8: each with a correct hash."""
    verb = disguise(workspace)
    shutil.rmtree(workspace / STORE)
    code, said = trainings.run(trainings.verb, workspace, *verb.split())
    assert code == 2 and said.strip() and "Traceback" not in said, said
    assert not list(workspace.rglob("pwned"))


def forge(packed: Path, name: str, content: bytes) -> None:
    """Damage a file and correct its hash, as an attacker with a whole directory can."""
    manifest = json.loads((packed / "manifest.json").read_text())
    (packed / name).write_bytes(content)
    manifest["sha256"][name] = atomic.sha256(packed / name)
    (packed / "manifest.json").write_text(json.dumps(manifest))


def an_npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def an_archive(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, train=array)
    return file.getvalue()


FORGED: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
    "empty": lambda images: b"",
    "no array": lambda images: b"no array at all " * 20,
    "an archive": an_archive,
    "a header that is no Python": lambda images: an_npy(images).replace(b"'descr'", b"'descr\\", 1),
    "a header without its shape": lambda images: an_npy(images).replace(b"'shape'", b"'spahe'", 1),
    "cut off": lambda images: an_npy(images)[:-100],
    "floats": lambda images: an_npy(images.astype(np.float32)),
    "one picture": lambda images: an_npy(images[0]),
    "no pictures": lambda images: an_npy(images[:0]),
    "fewer pictures": lambda images: an_npy(images[:9]),
    "more pictures": lambda images: an_npy(np.concatenate([images, images])),
    "another size": lambda images: an_npy(images[:, ::2, ::2]),
    "not square": lambda images: an_npy(images[:, ::2]),
    "one channel": lambda images: an_npy(images[..., :1]),
    "transposed": lambda images: an_npy(np.asfortranarray(images)),
}


@pytest.mark.parametrize("verb", ["train v1 --seeds 0", "evaluate v1 --seeds 0"])
@pytest.mark.parametrize("damage", FORGED)
def test_a_forged_array_is_one_line(damage: str, verb: str, workspace: Path) -> None:
    """Fault 7, with a corrected hash."""
    packed = workspace / "data" / "packed"
    images = np.load(packed / "train.npy", allow_pickle=False)
    forge(packed, "train.npy", FORGED[damage](images))
    assert (packed / "train.npy").read_bytes() != an_npy(images), "the fault did not fire"
    shutil.rmtree(workspace / STORE)
    code, said = trainings.run(trainings.verb, workspace, *verb.split())
    [line] = [line for line in said.splitlines() if line.startswith("ganealogy: ")]  # beside it, bars of progress
    assert code == 2 and "Traceback" not in said, said
    assert "data/packed/train.npy: " in line and "dvc repro" in line, line


def test_pictures_of_another_size_than_the_plans_are_refused(tmp_path: Path) -> None:
    """Also without a size in the manifest."""
    workspace = trainings.workspace(tmp_path / "work")
    packed = workspace / "data" / "packed"
    forge(packed, "train.npy", an_npy(np.load(packed / "train.npy", allow_pickle=False)[:, ::2, ::2]))
    code, said = trainings.run(trainings.train, workspace, "v1")
    assert code == 2 and said.count("\n") == 1, said
    assert "pictures (8, 8, 3), but the plan has (16, 16, 3)" in said and "dvc repro" in said, said


LABELS: dict[str, Callable[[NDArray[np.int64]], bytes]] = {
    "no array": lambda labels: b"no array at all " * 20,
    "an archive": an_archive,
    "floats": lambda labels: an_npy(labels.astype(np.float64)),
    "of two axes": lambda labels: an_npy(labels[:, None]),
    "none": lambda labels: an_npy(labels[:0]),
    "too few": lambda labels: an_npy(labels[:-1]),
    "a class too high": lambda labels: an_npy(np.where(labels == 3, 10, labels)),
    "a class below 0": lambda labels: an_npy(np.where(labels == 3, -1, labels)),
}


def labelled(folder: Path) -> Path:
    """A planned workspace with one class-conditional version."""
    trainings.workspace(folder, "v14")  # for its pictures of 32 pixels
    shutil.copytree(trainings.ROOT / "versions", folder / "versions")
    version = "title: t\nparent: v1\nidea: i\nsource: s\nchanges: {labels: true}\n"
    (folder / "versions" / "labelled.yaml").write_text(version)
    params = (folder / "params.yaml").read_text().replace("name: avatars", "name: mnist").replace("v14", "labelled")
    (folder / "params.yaml").write_text(params)
    plan.write(plan.make(folder / "params.yaml", folder / "versions"), folder / "build" / "plan")
    return folder


@pytest.mark.parametrize("damage", [None, *LABELS])
def test_forged_labels_are_one_line(damage: str | None, tmp_path: Path) -> None:
    workspace, labels = labelled(tmp_path / "work"), np.arange(160) % 10
    forged = an_npy(labels) if damage is None else LABELS[damage](labels)
    forge(workspace / "data" / "packed", "train-labels.npy", forged)
    code, said = trainings.run(trainings.train, workspace, "labelled")
    if damage is None:
        assert code == 0, said
        return
    assert code == 2 and said.count("\n") == 1, said
    assert "data/packed/train-labels.npy: " in said and "dvc repro" in said, said


def interrupted(folder: Path) -> Path:
    """A workspace with a training killed after two checkpoints. Return the folder of the checkpoints."""
    trainings.workspace(folder)
    assert trainings.run(trainings.train, folder, "v1", 9)[0] < 0
    [checkpoints] = folder.glob("build/wip/*/checkpoints")
    assert len(list(checkpoints.glob("*.json"))) == 2
    return checkpoints


@pytest.mark.parametrize("damage", ["a pickle", "another network's", "no steps", "truncated", "empty"])
def test_a_bad_checkpoint_is_named_and_the_older_one_used(damage: str, tmp_path: Path) -> None:
    """Faults 6 and 8, also with a correct hash."""
    checkpoints = interrupted(tmp_path / "work")
    counters = max(checkpoints.glob("*.json"))
    tensors = counters.with_suffix(".safetensors")
    content = tensors.read_bytes()
    match damage:
        case "a pickle":
            tensors.write_bytes(CODE)
        case "another network's":
            smaller = {
                name: tensor[..., :1].copy() if tensor.ndim else tensor for name, tensor in load_file(tensors).items()
            }
            save_file(smaller, tensors)
        case "no steps":
            record = json.loads(counters.read_text())
            counters.write_text(json.dumps({**record, "facts": {}}))
        case "truncated":
            tensors.write_bytes(content[: len(content) // 2])
        case "empty":
            tensors.write_bytes(b"")
    if damage in ("a pickle", "another network's"):
        counters.write_text(json.dumps({**json.loads(counters.read_text()), "sha256": atomic.sha256(tensors)}))
    code, said = trainings.run(trainings.train, tmp_path / "work", "v1")
    assert code == 0, said
    assert said.count("checkpoint cannot be used") == 1 and counters.stem in said
    assert not list(tmp_path.rglob("pwned"))
    whole = trainings.workspace(tmp_path / "whole")
    assert trainings.run(trainings.train, whole, "v1")[0] == 0
    assert trainings.result(tmp_path / "work", "v1") == trainings.result(whole, "v1")


FULL = {  # verb → (the most bytes a file may have, what is named)
    "plan": (1000, "build/plan"),
    "download": (5000, "data/raw"),
    "preprocess": (5000, "data/packed"),
    "reference": (5000, "data/reference"),
    "train v1 --seeds 0": (20_000, "build/wip"),
    "sample v1 --seeds 0": (5000, "build/wip"),
    "evaluate v1 --seeds 0": (1000, "build/wip"),
    "report": (5000, "reports"),
    "new my-idea --parent v1": (100, "versions"),
    "use mnist": (100, "params.yaml"),
}


@pytest.mark.parametrize("verb", FULL)
def test_a_full_disk_is_one_line_and_leaves_the_last_good_files(workspace: Path, verb: str) -> None:
    """Fault 9: a limit on the file size makes the system refuse a real write."""
    limit, named = FULL[verb]
    if verb.startswith(("new", "use")):
        (workspace / "versions").unlink()
        for name in ("versions", "presets"):
            (workspace / name).mkdir()
            for path in (trainings.ROOT / name).glob("*.yaml"):
                (workspace / name / path.name).write_bytes(path.read_bytes())
    shutil.rmtree(workspace / STORE)
    before = trainings.files(workspace)
    code, said = trainings.run(trainings.verb, workspace, *verb.split(), file_limit=limit)
    [line] = [line for line in said.splitlines() if line.startswith("ganealogy: ")]  # beside it, bars of progress
    assert code == 2 and "Traceback" not in said, said
    assert "File too large" in line or "requested" in line, "the fault did not fire: " + said
    assert named in line, line
    after = trainings.files(workspace)
    for name, content in after.items():
        if "wip" not in name:
            smaller = len(content) <= limit and name not in before
            assert content == before.get(name) or smaller or len(content) <= limit, f"{name} is half-written"
            assert not name.endswith(".tmp"), f"{name} was left behind"
    if verb in ("plan", "report") or verb.startswith(("new", "use")):
        gone = {name for name in before if name not in after}
        assert not gone, f"the last good files went: {gone}"
        if not verb.startswith("report"):
            assert {name: after[name] for name in before} == before
