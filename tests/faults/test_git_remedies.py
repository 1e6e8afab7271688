"""Projects that git or DVC do not serve as experiments need: one line each, whose command, typed, removes the fault."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from helpers.pipeline import Workspace

from ganealogy.cli import doctor


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A DVC project with a dvc.yaml, in no git repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
    workspace = Workspace(tmp_path / "my work")
    workspace.path.mkdir()
    shutil.copy("dvc.yaml", workspace.path)
    shutil.copy("tests/tiny.yaml", workspace.path / "params.yaml")
    (workspace.path / "src").symlink_to(Path("src").resolve())
    return workspace


def compare(workspace: Workspace) -> str:
    done = workspace.ganealogy("report", "--exp", "HEAD", "workspace")
    assert done.returncode == 2 and done.stdout.count("\n") == 1, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("its git was removed", "no git repository"),
        ("made with --no-scm", "its DVC works without git"),
        ("without a commit", "no commit yet"),
    ],
)
def test_experiments_need_git_and_a_commit(state: str, fault: str, place: Workspace) -> None:
    if state == "made with --no-scm":
        place.dvc("init", "-q", "--no-scm")
    else:
        place.run("git", "init", "-q")
        place.dvc("init", "-q")
    if state == "its git was removed":
        shutil.rmtree(place.path / ".git")
    said = compare(place)
    assert fault in said
    place.run("bash", "-c", said.rpartition("run: ")[2])
    assert fault not in compare(place)


def test_a_damaged_dvc_yaml_is_repaired_by_git(place: Workspace) -> None:
    place.run("git", "init", "-q")
    place.run("git", "add", "dvc.yaml")
    place.run("git", "commit", "-q", "-m", "start")
    (place.path / "dvc.yaml").write_text("stages: [")
    done = place.ganealogy("preprocess")
    assert done.returncode == 2 and "dvc.yaml: cannot be read" in done.stdout, done.stdout
    (command,) = re.findall("`(git .+?)`", done.stdout)
    place.run(*command.split())
    assert "dvc.yaml" not in place.ganealogy("preprocess").stdout


def test_the_doctor_names_git_init(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.path)

    def faults() -> list[str]:
        return [finding.text for finding in doctor.check_programs() if "git init" in finding.text]

    (line,) = faults()
    (command,) = re.findall("`(git .+?)`", line)
    place.run(*command.split())
    assert faults() == []


@pytest.mark.parametrize(("git", "command"), [("", "dvc init"), ("..", "dvc init --subdir")])
def test_the_doctor_names_dvc_init(git: str, command: str, place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy without its hidden folders, at the root of a git repository or below it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(place.path.parent.parent))
    place.run("git", "init", "-q", git or ".")
    shutil.rmtree(place.path / ".dvc", ignore_errors=True)
    monkeypatch.chdir(place.path)

    def faults() -> list[str]:
        return [finding.text for finding in doctor.check_programs() if ".dvc is missing" in finding.text]

    (line,) = faults()
    assert f"`{command}`" in line
    place.run(*command.split())
    assert faults() == []


@pytest.mark.parametrize("state", ["no DVC", "its git was removed"])
def test_gc_is_one_line_outside_dvc_or_git(state: str, place: Workspace) -> None:
    place.run("git", "init", "-q")
    if state != "no DVC":
        place.dvc("init", "-q")
        shutil.rmtree(place.path / ".git")
    done = place.ganealogy("gc", "--yes")
    assert done.returncode == 2 and "not a DVC project in a git repository" in done.stdout
    assert done.stdout.count("\n") == 1
