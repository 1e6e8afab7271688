"""What stands in the workspace, as one git commit that any machine can check out.

Uncommitted changes go along: a commit is made beside the branch, through an index of its own, so that neither the
files, the user's index nor any branch is touched. It has no parent, so that its bundle carries no history.
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
"""What the stages read: of these, new files that git does not know yet go along too."""
IDENTITY = {
    f"GIT_{who}_{what}": f"ganealogy{end}"
    for who in ("AUTHOR", "COMMITTER")
    for what, end in (("NAME", ""), ("EMAIL", "@localhost"))
}


@dataclass(frozen=True)
class Commit:
    tree: str
    """What identifies the content."""
    identity: str
    uncommitted: int
    """How many files differ from the branch's last commit."""


def take(root: Path) -> Commit:
    """The workspace's tracked files and the pipeline's new ones as a commit under `REF`.

    Raises: GanealogyError when `root` is not the top of a git repository.
    """
    top = git(root, "rev-parse", "--show-prefix", check=False)
    if top is None or top:
        raise GanealogyError(f"{root}: not the top of a git repository: `git init` here, or go there")
    with tempfile.TemporaryDirectory() as folder:
        own = {**IDENTITY, "GIT_INDEX_FILE": str(Path(folder) / "index")}
        head = git(root, "rev-parse", "--verify", "-q", "HEAD", check=False)
        if head:
            git(root, "read-tree", "HEAD", environment=own)
            git(root, "add", "--update", environment=own)
        git(root, "add", "--", *(name for name in PIPELINE if (root / name).exists()), environment=own)
        tree = git(root, "write-tree", environment=own)
        differing = git(root, "diff-tree", "-r", "--name-only", "HEAD", tree) if head else ""
        identity = git(root, "commit-tree", tree, "-m", f"The workspace at {head or 'no commit'}", environment=own)
    git(root, "update-ref", REF, identity)
    names = [name for name in differing.splitlines() if name != "dvc.lock"]
    return Commit(tree, identity, len(names))


def bundle(root: Path) -> bytes:
    """The commit under `REF` as a git bundle."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository.bundle"
        git(root, "bundle", "create", "-q", str(path), REF)
        return path.read_bytes()


def git(root: Path, *arguments: str, environment: dict[str, str] | None = None, check: bool = True) -> str:
    """Its output, stripped. With `check` off a failure returns nothing (None).

    Raises: GanealogyError with git's own last line.
    """
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if done.returncode and check:
        raise GanealogyError(f"git {arguments[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return None if done.returncode else done.stdout.strip()  # type: ignore[return-value]
