"""The files of a new project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.params import schema
from ganealogy.project import create, propose
from ganealogy.workspace import PRESETS, SHIPPED

VALUES = {"dataset.path": "/a/b c", "train.kimg": 48, "tree.versions": ["v1", "v20"], "evaluate.against": ["v1"]}
REASONS = {"train.kimg": "what 2 hours allow", "tree.versions": "because: few"}


def text() -> str:
    return create.params((SHIPPED / PRESETS / "folder.yaml").read_text(), VALUES, REASONS, "7 pictures.")


def test_params_are_the_presets_with_values_and_reasons(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text())
    assert schema.load(tmp_path / "params.yaml") == propose.settings(VALUES)
    assert text().startswith("# 7 pictures.\n")
    assert "kimg: 48  # what 2 hours allow\n" in text()
    assert "versions: [v1, v20]  # because: few\n" in text()
    assert "64x64" not in text() and "use folder" not in text()  # the preset's own comments on these values


def test_the_pipeline_is_the_checkouts_with_the_installed_command() -> None:
    reference = yaml.safe_load(Path("dvc.yaml").read_text())
    made = yaml.safe_load(create.pipeline(Path("dvc.yaml").read_text()))
    assert list(made["stages"]) == list(reference["stages"]) and made["plots"] == reference["plots"]
    for name, stage in reference["stages"].items():
        assert made["stages"][name]["cmd"] == stage["cmd"].replace("python src/ganealogy", "ganealogy")
        assert stage["cmd"].startswith("python src/ganealogy ")
    assert made["stages"]["plan"]["deps"] == ["components", "versions"]
    assert "src" not in create.pipeline(Path("dvc.yaml").read_text())


def test_a_project_is_a_repository_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "my faces"
    written = create.create(folder, text(), "my faces")
    assert tuple(written) == create.FILES and all((folder / name).is_file() for name in written)
    assert (folder / ".git").is_dir() and (folder / ".dvc").is_dir()
    assert (folder / "README.md").read_text().startswith("# my faces\n")
    listed = (folder / "components/README.md").read_text()
    assert all(f"- `{kind.replace('.', '/')}/`" in listed for kind in components.KINDS)


def test_inside_a_larger_repository_it_becomes_a_part_of_that(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    folder = tmp_path / "experiments/faces"
    create.create(folder, text(), "faces")
    assert not (folder / ".git").exists() and (folder / ".dvc").is_dir()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(GanealogyError, match=r"README\.md exists: name a new folder, or move that file"):
        create.create(tmp_path, text(), "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("tool", ["git", "dvc"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_to_type_after_git_or_dvc_failed_makes_the_project(
    tool: str, inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if inside and tool == "dvc":
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    folder = tmp_path / "faces"
    real = create._run
    with monkeypatch.context() as broken:
        broken.setattr(create, "_run", lambda words, place: None if tool in words[:3] else real(words, place))
        with pytest.raises(GanealogyError) as error:
            create.create(folder, text(), "faces")
    for command in re.findall(r"`(.*?)`", str(error.value)):
        subprocess.run([sys.executable, "-m", *command.split()] if command[0] == "d" else command.split(),
                       cwd=folder, check=True)  # fmt: skip
    assert (folder / ".dvc").is_dir() and (folder / "params.yaml").is_file()
    assert (folder / ".git").is_dir() != (inside and tool == "dvc")


def test_every_kind_of_component_is_a_folder_of_the_package() -> None:
    for kind in components.KINDS:
        assert components.known(kind)
