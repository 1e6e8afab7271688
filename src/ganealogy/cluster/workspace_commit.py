"""Make a git commit of the workspace, uncommitted changes included, that any machine can check out.

The commit uses an index of its own, so files, the user's index and branches stay unchanged. It has no parent, so its
bundle carries no history.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ganealogy.errors import GanealogyError

REF = "refs/ganealogy/repro"
PIPELINE = ["src/ganealogy", "versions", "presets", "params.yaml", "dvc.yaml", "dvc.lock", ".dvc/config", ".dvcignore"]
"""Inputs of the stages: their untracked files are part of the commit."""
IDENTITY = {
    f"GIT_{role}_{field}": f"ganealogy{suffix}"
    for role in ("AUTHOR", "COMMITTER")
    for field, suffix in (("NAME", ""), ("EMAIL", "@localhost"))
}


@dataclass(frozen=True)
class Commit:
    tree: str
    """Git's hash of the content: equal for equal workspaces."""
    uncommitted: int
    """Number of files that differ from HEAD, dvc.lock aside."""


def create(root: Path) -> Commit:
    """Commit tracked files and untracked files of `PIPELINE` under `REF`.

    Raises: GanealogyError when `root` is not the top of a git repository.
    """
    prefix = git(root, "rev-parse", "--show-prefix", check=False)
    if prefix is None or prefix:
        raise GanealogyError(f"{root}: not the top of a git repository; run `git init` here, or go to the top")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**IDENTITY, "GIT_INDEX_FILE": str(Path(folder) / "index")}
        head = git(root, "rev-parse", "--verify", "-q", "HEAD", check=False)
        if head:
            git(root, "read-tree", "HEAD", environment=environment)
            git(root, "add", "--update", environment=environment)
        git(root, "add", "--", *(name for name in PIPELINE if (root / name).exists()), environment=environment)
        tree = git(root, "write-tree", environment=environment)
        differing = git(root, "diff-tree", "-r", "--name-only", "HEAD", tree) if head else ""
        message = f"The workspace at {head or 'no commit'}"
        commit = git(root, "commit-tree", tree, "-m", message, environment=environment)
    git(root, "update-ref", REF, commit)
    return Commit(tree, len([name for name in differing.splitlines() if name != "dvc.lock"]))


def bundle(root: Path) -> bytes:
    """Return the commit under `REF` as a git bundle."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository.bundle"
        git(root, "bundle", "create", "-q", str(path), REF)
        return path.read_bytes()


def git(root: Path, *arguments: str, environment: dict[str, str] | None = None, check: bool = True) -> str:
    """Run git; return its output, stripped. With `check` off, return None if it fails.

    Raises: GanealogyError with the last line of git's error.
    """
    command = ["git", "-C", str(root), *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if result.returncode and check:
        raise GanealogyError(f"git {arguments[0]}: {(result.stderr.strip().splitlines() or ['failed'])[-1]}")
    return None if result.returncode else result.stdout.strip()  # type: ignore[return-value]
