"""Messages about a data set, a run or a preset that name a command: the command is typed, and the fault is gone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import trainings

from ganealogy.errors import GanealogyError
from ganealogy.tracking import run_record
from ganealogy.workspace import run_dir, unfinished


def type_commands(workspace: Path, *commands: str) -> None:
    """Run the stages of `dvc repro` commands, as DVC does."""
    for command in commands:
        words = command.removeprefix("dvc repro ").replace("@", " ").split()
        code, said = trainings.run(trainings.verb, workspace, *words)
        assert code == 0, said


def message(workspace: Path, *words: str) -> str:
    """Return the message of a command that fails."""
    code, said = trainings.run(trainings.verb, workspace, *words)
    assert code == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("ganealogy: ")]
    return line


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("damage", [Path.unlink, cut])
@pytest.mark.parametrize("name", ["source.json", "pictures.zip"])
def test_what_was_downloaded_comes_again(workspace: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(workspace / "data/raw" / name)
    said = message(workspace, "preprocess")
    assert name in said and "`dvc repro download`" in said
    type_commands(workspace, "dvc repro download", "dvc repro preprocess")


def test_pictures_of_another_size_are_packed_again(workspace: Path) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("image_size: 16", "image_size: 32"))
    type_commands(workspace, "dvc repro plan")
    said = message(workspace, "train", "v1")
    assert "pictures (16, 16, 3), but the plan has (32, 32, 3)" in said and "`dvc repro preprocess`" in said
    type_commands(workspace, "dvc repro preprocess", "dvc repro train@v1")


def test_a_run_is_exported_once_it_is_trained(workspace: Path) -> None:
    for path in (workspace / "build/runs/v1/train/0/weights").iterdir():
        path.unlink()
    said = message(workspace, "export", "v1", "0")
    assert "no generator to export" in said
    (command,) = re.findall(r"`(dvc .*?)`", said)
    assert f"`{command}`" in message(workspace, "generate", "v1")
    assert f"`{command}`" in message(workspace, "generate", "v1-0")
    type_commands(workspace, command, "export v1 0", "generate v1", "generate v1-0")


def test_a_damaged_unfinished_run_is_trained_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("runs/v1", "store/train"):
        shutil.rmtree(workspace / "build" / folder)
    code, said = trainings.run(trainings.train, workspace, "v1", kill_at_step=4)
    assert code == -9, said
    (record,) = workspace.glob("build/wip/*/train/run.json")
    cut(record)
    monkeypatch.chdir(workspace)
    with pytest.raises(GanealogyError, match="run `dvc repro`, which trains it again"):
        run_record.read(unfinished(record.parents[1]))
    type_commands(workspace, "dvc repro train@v1")
    assert run_record.read(run_dir("v1", 0)).status == "finished" and not record.exists()


def test_a_path_with_another_preset_is_refused_with_the_command(workspace: Path) -> None:
    (workspace / "presets").symlink_to(trainings.ROOT / "presets")
    said = message(workspace, "use", "anime", "--path", "pictures")
    (command,) = re.findall(r"`ganealogy (.*?)`", said)
    type_commands(workspace, command)
    assert "name: anime" in (workspace / "params.yaml").read_text()


def test_pictures_come_from_the_onnx_file_that_the_message_makes(workspace: Path) -> None:
    said = message(workspace, "generate", "reports/live/v1-0.onnx")
    (command,) = re.findall(r"`ganealogy (export .*?)`", said)
    type_commands(workspace, command.replace("v8", "v1"), "generate reports/live/v1-0.onnx")
    assert len([*workspace.glob("reports/generated/v1-0/seed*.png")]) == 16


def test_names_of_experiments_follow_their_option(workspace: Path) -> None:
    code, said = trainings.run(trainings.verb, workspace, "report", "A", "B")
    assert code == 2 and "ganealogy report --exp A B" in said


def test_noise_without_data_names_the_stage_that_makes_it(workspace: Path) -> None:
    (workspace / "data/packed/manifest.json").unlink()
    assert "`dvc repro reference`" in message(workspace, "noise", "v1", "--runs", "2")
    type_commands(workspace, "dvc repro preprocess", "dvc repro reference", "noise v1 --runs 2")  # with its inputs
    assert json.loads((workspace / "reports/noise.json").read_text())["runs"] == 2


def test_pictures_without_their_manifest_are_packed_again(workspace: Path) -> None:
    (workspace / "data/packed/manifest.json").unlink()
    assert "`dvc repro preprocess`" in message(workspace, "reference")
    type_commands(workspace, "dvc repro preprocess", "dvc repro reference")
