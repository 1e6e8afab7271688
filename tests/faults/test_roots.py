"""The project as a folder of a larger git repository: git's root is not DVC's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh, ran, with_results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project in models/gan that has run, with one experiment."""
    outer = Workspace(tmp_path_factory.mktemp("roots") / "outer")
    inner = outer.path / "models/gan"
    inner.mkdir(parents=True)
    workspace = with_results(tmp_path_factory, inner)
    shutil.rmtree(inner / ".git")
    (inner / ".dvc/cache").rename(outer.path / "cache")
    shutil.rmtree(inner / ".dvc")
    for command in ("init -q -b main", "config user.name Test", "config user.email test@example.org"):
        outer.run("git", *command.split())
    workspace.dvc("init", "--subdir", "-q")
    (outer.path / "cache").rename(inner / ".dvc/cache")
    commit(workspace, "start")
    workspace.dvc("repro")
    commit(workspace, "ran")
    workspace.dvc("exp", "run", "-n", "hot", "-S", "train.lr=0.0004", "-S", "tree.versions=[v1]")
    return workspace


def commit(workspace: Workspace, message: str) -> None:
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-q", "-m", message)


def test_experiments_are_compared(project: Workspace) -> None:
    done = project.ganealogy("report", "--exp", "hot", "HEAD", "workspace")
    assert done.returncode == 0, done.stdout
    page = (project.path / "reports/compare.html").read_text()
    assert "hot" in page and "0.0004" in page


def test_gc_keeps_what_commits_and_experiments_name(project: Workspace) -> None:
    project.run("git", "stash", "-q", "-u")  # back to HEAD: only the experiment names its run
    try:
        done = project.ganealogy("gc", "--yes")
        assert done.returncode == 0 and "nothing to remove; 9 results are in use" in done.stdout, done.stdout
    finally:
        project.run("git", "stash", "pop", "-q")


def test_other_commands_work_and_nothing_runs_again(project: Workspace) -> None:
    for verb in ("plan", "summary", "sync"):
        done = project.ganealogy(verb)
        assert done.returncode == 0, done.stdout
    assert ran(project.dvc("repro")) == ["inputs"]
    assert "✗" not in project.ganealogy("doctor").stdout


@pytest.mark.parametrize("head", ["detached", "without a commit", "no git"])
def test_other_states_of_git(head: str, tmp_path: Path) -> None:
    workspace = fresh(tmp_path / "w")
    if head == "detached":
        workspace.run("git", "checkout", "-q", "--detach")
    else:
        shutil.rmtree(workspace.path / ".git")
        workspace.run("git", "init", "-q") if head == "without a commit" else None
    for verb in ("plan", "tree"):
        done = workspace.ganealogy(verb)
        assert done.returncode == 0, done.stdout
    done = workspace.ganealogy("gc", "--yes")
    assert "Traceback" not in done.stdout
