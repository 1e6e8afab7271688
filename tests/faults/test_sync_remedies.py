"""Faults of run directories that `ganealogy sync` names: the remedy as it is typed, the fault gone after."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from helpers import trainings

from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.tracking import best_run
from ganealogy.workspace import run_dir

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning")  # within MLflow

RUN = "build/runs/v1"


def damage(fault: str) -> None:
    path = next(Path().glob(fault.partition(": ")[2]))
    content = path.read_bytes()
    path.chmod(0o644)
    if fault.startswith("absent"):
        path.unlink()
    elif fault.startswith("unknown status"):
        atomic.write_json(path, json.loads(content) | {"status": "bored"})
    elif fault.startswith("other pictures"):
        atomic.write_json(path, json.loads(content) | {"dataset": "0" * 64})
    else:
        path.write_bytes(b"\x00" + content[: len(content) // 2] + b"\n")


@pytest.mark.parametrize(
    ("fault", "command"),
    [
        (f"absent: {RUN}/train/0/run.json", "dvc repro train@v1"),
        (f"damaged: {RUN}/train/0/run.json", "dvc repro --force --single-item train@v1"),
        (f"unknown status: {RUN}/train/0/run.json", "dvc repro --force --single-item train@v1"),
        (f"damaged: {RUN}/train/0/metrics.jsonl", "dvc repro --force --single-item train@v1"),
        (f"damaged: {RUN}/train/0/grids/*.png", "dvc repro --force --single-item train@v1"),
        (f"damaged: {RUN}/train/0/weights/generator-last.safetensors", "dvc repro --force --single-item train@v1"),
        (f"damaged: {RUN}/sample/0/sample.json", "dvc repro --force --single-item sample@v1"),
        (f"damaged: {RUN}/evaluate/0/metrics.json", "dvc repro --force --single-item evaluate@v1"),
        (f"damaged: {RUN}/cost/train/0.json", "dvc repro --force --single-item train@v1"),
        ("absent: build/plan/tree.json", "dvc repro plan"),
        ("damaged: build/plan/tree.json", "dvc repro --force --single-item plan"),
        ("damaged: data/packed/manifest.json", "dvc repro --force --single-item preprocess"),
        ("other pictures: data/packed/manifest.json", "dvc repro"),
    ],
)
def test_a_run_that_cannot_be_posted_is_posted_after_the_command_in_the_message(
    workspace: Path, fault: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_TRACKING", "DVC_"))]:
        monkeypatch.delenv(name)
    damage(fault)
    with pytest.raises(GanealogyError) as caught:
        tracking.sync(run_dir("v1", 0))
    assert f"`{command}`" in str(caught.value)
    words = re.sub(r"dvc repro|--force|--single-item|@", " ", command).split() or ["preprocess"]
    assert trainings.run(trainings.verb, workspace, *words)[0] == 0  # the stage's command, as DVC runs it
    result = tracking.sync(run_dir("v1", 0))
    assert result.warning is None and result.run_id is not None


def test_the_best_run_of_an_untrained_project_comes_with_the_command_in_the_message(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    for stage in ("train", "sample", "evaluate"):
        (workspace / RUN / stage / "0").rename(workspace / RUN / stage / "away")
    with pytest.raises(GanealogyError, match="`dvc repro` trains and measures them"):
        best_run.best()
    for stage in ("train", "sample", "evaluate"):
        assert trainings.run(trainings.verb, workspace, stage, "v1")[0] == 0
    assert best_run.best()[0].title == "v1 seed 0"
