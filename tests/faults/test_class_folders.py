"""Class folders are the labels of versions with `labels: true`, from a folder and from archives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import trainings

VERSION = "title: t\nparent: v1\nidea: i\nsource: s\nchanges: {labels: true}\n"


@pytest.mark.parametrize("form", ["folder", "zip", "gztar"])
def test_a_version_with_labels_trains_on_class_folders(form: str, workspace: Path) -> None:
    pictures = workspace / "pictures"
    for index, path in enumerate(sorted(pictures.iterdir())):
        target = pictures / ("cats", "dogs", "owls")[index % 3] / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    name = "pictures"
    if form != "folder":
        name = Path(shutil.make_archive(str(workspace / "archive"), form, pictures)).name
        shutil.rmtree(pictures)
    (workspace / "versions").unlink()
    shutil.copytree(trainings.ROOT / "versions", workspace / "versions")
    (workspace / "versions/labelled.yaml").write_text(VERSION)
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("path: pictures", f"path: {name}").replace("[v1]", "[labelled]"))
    for verb in ("inputs", "plan", "download", "preprocess", "train labelled --seeds 0"):
        code, said = trainings.run(trainings.verb, workspace, *verb.split())
        assert code == 0, f"{verb}: {said}"
    plan = json.loads((workspace / "build/plan/versions/labelled.json").read_text())
    assert plan["protocol"]["classes"] == 3
    assert json.loads((workspace / "data/packed/manifest.json").read_text())["classes"] == ["cats", "dogs", "owls"]


def test_without_class_folders_labels_are_refused_by_the_plan_and_sorting_the_pictures_helps(workspace: Path) -> None:
    (workspace / "versions").unlink()
    shutil.copytree(trainings.ROOT / "versions", workspace / "versions")
    (workspace / "versions/labelled.yaml").write_text(VERSION)
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("[v1]", "[labelled]"))
    code, said = trainings.run(trainings.verb, workspace, "plan")
    assert code == 2 and "labels: true, but the data set has no labels" in said, said
    for index, path in enumerate(sorted((workspace / "pictures").iterdir())):
        target = workspace / "pictures" / ("cats", "dogs")[index % 2] / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    code, said = trainings.run(trainings.verb, workspace, "plan")
    assert code == 0, said
