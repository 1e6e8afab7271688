"""A workspace for tests of the pipeline: this checkout's files in a fresh git repository, with the tiny protocol."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPARE = ("exp", "show", "--no-pager", "--only-changed", "--drop", ".*/|.*components|versions|package|lead")
"""The table of docs/versions.md."""


@dataclass
class Workspace:
    path: Path

    def run(
        self, *command: str, check: bool = True, timeout: float = 280, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the workspace, with this environment's python first; stderr is merged into stdout."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment(**environment),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done

    def dvc(self, *arguments: str, check: bool = True, **environment: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check, **environment).stdout

    def ganealogy(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "ganealogy", *arguments, check=False, **environment)

    def environment(self, **more: str) -> dict[str, str]:
        bin_folder = str(Path(sys.executable).parent)
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_TRACKING"))
        }
        return {
            **inherited,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "COLUMNS": "160",
            **more,
        }

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.path / name
        content = path.read_text()
        assert old in content, f"{old!r} is not in {name}"
        path.write_text(content.replace(old, new, 1))

    def append(self, name: str, text: str) -> None:
        """Edit a file without depending on its content: a comment, or code that nothing uses."""
        path = self.path / name
        path.write_text(f"{path.read_text()}{text}\n")

    def digest(self, name: str) -> str:
        return (self.path / name).read_text()


def fresh(path: Path) -> Workspace:
    """Copy the tracked and untracked files of this checkout to `path` and commit them there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    workspace = Workspace(path)
    shutil.copy(ROOT / "tests" / "tiny.yaml", path / "params.yaml")
    workspace.run("git", "init", "-q", "-b", "main")
    workspace.run("git", "config", "user.name", "Test")
    workspace.run("git", "config", "user.email", "test@example.org")
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-q", "-m", "start")
    return workspace


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills once in a test session, for all workers of pytest-xdist. Edit a copy only."""
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder = session / name
    with open(session / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = session / f"{name} unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


def after_repro(factory: pytest.TempPathFactory, path: Path) -> tuple[Workspace, str]:
    """Return a workspace at `path` after its first `dvc repro` of the tiny protocol, and what that printed."""

    def make(folder: Path) -> None:
        (folder / "printed.txt").write_text(fresh(folder / "with spaces").dvc("repro"))

    folder = once(factory, "after repro", make)
    shutil.copytree(folder / "with spaces", path, symlinks=True)
    return Workspace(path), (folder / "printed.txt").read_text()


def with_results(factory: pytest.TempPathFactory, path: Path) -> Workspace:
    """Return a fresh workspace in which `dvc repro` finds what it ran elsewhere, as after `dvc pull --run-cache`.

    For tests of what comes after a run: only what differs from the tiny protocol runs here.
    """
    done, _ = after_repro(factory, path.parent / "done")
    workspace = fresh(path)
    for name in (".dvc/cache", "build/store"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (done.path / name).rename(path / name)
    shutil.rmtree(done.path)
    return workspace


def ran(output: str) -> list[str]:
    """Return the stages that a `dvc repro` ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
