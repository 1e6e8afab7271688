"""Class folders are the labels of versions with `labels: true`, from a folder and from archives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import trainings

STAGES = ("train", "sample", "evaluate")
NAMES = ["cats", "dogs", "owls"]
VERSION = "title: t\nparent: v1\nidea: i\nsource: s\nchanges: {labels: true}\n"


@pytest.mark.parametrize("form", ["folder", "zip", "gztar"])
def test_a_version_with_labels_trains_on_class_folders(form: str, workspace: Path) -> None:
    pictures = workspace / "pictures"
    sort(pictures, NAMES)
    name = "pictures"
    if form != "folder":
        name = Path(shutil.make_archive(str(workspace / "archive"), form, pictures)).name
        shutil.rmtree(pictures)
    (workspace / "versions").unlink()
    shutil.copytree(trainings.ROOT / "versions", workspace / "versions")
    (workspace / "versions/labelled.yaml").write_text(VERSION)
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("path: pictures", f"path: {name}").replace("[v1]", "[labelled, v1]"))
    verbs = ["inputs", "plan", "download", "preprocess", "train labelled --seeds 0"]
    if form == "folder":
        per_version = [f"{stage} {version}" for version in ("labelled", "v1") for stage in STAGES]
        verbs += ["reference", *per_version, "report"]
    for verb in verbs:
        code, said = trainings.run(trainings.verb, workspace, *verb.split())
        assert code == 0, f"{verb}: {said}"
    plan = json.loads((workspace / "build/plan/versions/labelled.json").read_text())
    assert plan["protocol"]["classes"] == 3
    assert json.loads((workspace / "data/packed/manifest.json").read_text())["classes"] == NAMES
    if form == "folder":
        _has_classes(workspace)


def _has_classes(workspace: Path) -> None:
    """The conditional version has a sheet of its classes, and the report has tables by their names."""
    runs = workspace / "build/runs"
    anchors = json.loads((workspace / "data/reference/anchors.json").read_text())
    assert (runs / "labelled/sample/0/classes.png").is_file() and not (runs / "v1/sample/0/classes.png").exists()
    for version in ("labelled", "v1"):
        found = json.loads((runs / version / "evaluate/0/metrics.json").read_text())["classes"]["pixel8"]
        assert sum(found["reals"]) == anchors["reals"] and min(found["reals"]) > 10 and len(found["coverage"]) == 3
        assert (found["own"] is None) == (version == "v1")
    text = (workspace / "reports/report.md").read_text()
    assert "**Coverage by class.**" in text and "\n| cats |" in text and "\n| owls |" in text
    assert "Samples of labelled, a row per class" in (workspace / "reports/index.html").read_text()


def test_without_class_folders_labels_are_refused_by_the_plan_and_sorting_the_pictures_helps(workspace: Path) -> None:
    (workspace / "versions").unlink()
    shutil.copytree(trainings.ROOT / "versions", workspace / "versions")
    (workspace / "versions/labelled.yaml").write_text(VERSION)
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("[v1]", "[labelled]"))
    code, said = trainings.run(trainings.verb, workspace, "plan")
    assert code == 2 and "labels: true, but the data set has no labels" in said, said
    first = sort(workspace / "pictures", ["cats", "dogs"])
    code, said = trainings.run(trainings.verb, workspace, "plan")
    assert code == 0, said
    first.rename(workspace / "pictures" / first.name)
    code, said = trainings.run(trainings.verb, workspace, "plan")
    assert code == 2 and "put every picture of dataset.path into a folder of its class, two at least" in said, said


def sort(pictures: Path, classes: list[str]) -> Path:
    """Move the pictures into class folders in turn. Return the first one's new path."""
    moved = []
    for index, path in enumerate(sorted(pictures.iterdir())):
        target = pictures / classes[index % len(classes)] / path.name
        target.parent.mkdir(exist_ok=True)
        moved.append(path.rename(target))
    return moved[0]
