"""The Ray task of one job: unpack the bundle on the node, run `cluster/node.py` there, and pass its messages on.

Ray ships this module by value and it imports only what torch needs, too, so a node needs the environment (torch, dvc,
ray), but neither the repository nor the package: the bundle contains the code.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import importlib.metadata
import io
import json
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

MESSAGE = "\x1e"
"""Precedes a message of the child, in JSON, on its standard output; other lines belong to the log."""
Outcome = tuple[str, str, list[tuple[str, str]]]
"""How a job ended and the reason, as in `runtime.workers.Ended`, and (stage, key) of its results."""
CHILD = "from ganealogy.cluster import node; node.main()"


@dataclass(frozen=True)
class Task:
    """One job, with all that a node needs for it besides the bundle."""

    project: str
    """Unique name of the workspace: the node's folder for it."""
    name: str
    """Of the run, such as v3-1."""
    request: dict[str, Any] = field(repr=False)
    """A `node.Request` without `parent` and `scratch`."""
    environment: dict[str, str] = field(repr=False)
    """It and `request` have passwords of stores and remotes."""


class Board:
    """A Ray actor on the driver's node that collects the messages of all tasks."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def post(self, name: str, message: dict[str, Any]) -> None:
        self.messages.append((name, message))

    def read(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (run, message) of each message since the last call."""
        messages, self.messages = self.messages, []
        return messages


def describe(marker: str) -> dict[str, str]:
    """Return this node's name, its versions of Python and torch, and whether it `sees` the file `marker`."""
    found = {"node": socket.gethostname(), "python": platform.python_version()}
    found["sees"] = "yes" if Path(marker).is_file() else ""
    try:
        found["torch"] = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        found["problem"] = f"torch is not installed for {sys.executable}"
    return found


def run_task(task: Task, bundle: bytes, board: Any) -> Outcome:
    """Do one job.

    A failure is a result, not an exception: Ray retries a task only when its node dies. `bundle`: a zip of code, plan
    and parameters; `board`: Ray's handle of a `Board`.
    """
    node = socket.gethostname()

    def post(**message: Any) -> None:
        board.post.remote(task.name, {"node": node, **message})

    post(begin=True)
    try:
        base = scratch(task.project)
        with temporary_folder(base, task.name) as folder:
            zipfile.ZipFile(io.BytesIO(bundle)).extractall(folder)
            outcome = run_child(task, base, folder, post)
    except OSError as error:
        outcome = "error", f"{error.filename or 'a file'}: {error.strerror or error}", []
    import ray

    ray.get(board.post.remote(task.name, {"node": node}))  # so all messages are there before the result
    return outcome


def scratch(project: str) -> Path:
    """Make and return this node's folder for `project`, in GANEALOGY_SCRATCH or the system's temporary directory.

    Raises: PermissionError when another user could exchange what is in it.
    """
    given = os.environ.get("GANEALOGY_SCRATCH")
    user = getattr(os, "getuid", getpass.getuser)()
    base = Path(given).resolve() if given else Path(tempfile.gettempdir()).resolve() / f"ganealogy-{user}"
    path = base / project
    for folder in (base, path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(path)
    return path


def check_private(path: Path) -> None:
    """Check that only this user has access to a folder, and that no other can rename it or a folder above it.

    The code of a job is unpacked in it. Windows has no owners of this kind; its temporary directory is the user's own.

    Raises: PermissionError naming the folder at fault.
    """
    if not hasattr(os, "getuid"):
        return
    trusted = (os.getuid(), 0, Path("/").stat().st_uid)  # in a user namespace, root is another number
    for folder in (path, *path.parents):
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            fault = "is no folder of its own but a link"
        elif status.st_uid not in (trusted[:1] if folder == path else trusted):
            fault = f"belongs to another user ({status.st_uid})"
        elif folder == path and status.st_mode & 0o077:
            fault = f"is open to other users (mode {stat.S_IMODE(status.st_mode):o})"
        elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            fault = f"can be changed by other users (mode {stat.S_IMODE(status.st_mode):o})"
        else:
            continue
        remedy = "set GANEALOGY_SCRATCH to a folder of your own before `ray start` on this node"
        raise PermissionError(errno.EPERM, f"{fault}, who could exchange the code of a job; {remedy}", str(folder))


def run_child(task: Task, base: Path, folder: Path, post: Callable[..., None]) -> Outcome:
    """Run the job in a child process whose working directory is `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "RAY_"))}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}", "PYTHONPATH": str(folder / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=folder,
        env={**inherited, **path, "PYTHONUNBUFFERED": "1", **task.environment},
        text=True,
        errors="replace",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # a child that cannot start prints why
            json.dump({**task.request, "parent": os.getpid(), "scratch": str(base)}, child.stdin)
        ended, last = None, "it printed nothing"
        while True:
            try:
                for line in child.stdout:
                    text, _, message = line.rstrip("\n").partition(MESSAGE)
                    if text.strip():
                        last = text
                        post(log=f"{text}\n")
                    if message:
                        content = json.loads(message)
                        ended = tuple(content.pop("ended", ())) or ended
                        post(**content)
                break
            except KeyboardInterrupt:  # Ray cancels the task: the child writes a checkpoint and ends
                child.terminate()
    if ended is not None:
        return ended
    return "killed", f"its process ended with {child.returncode}: {last}", []


@contextlib.contextmanager
def temporary_folder(base: Path, name: str) -> Iterator[Path]:
    """Make a folder and delete it afterwards. First delete the folders of killed tasks, whose locks are free."""
    for stale in base.glob("*.lock"):
        with contextlib.suppress(Timeout), FileLock(stale, timeout=0):
            shutil.rmtree(base / stale.stem, ignore_errors=True)
            stale.unlink(missing_ok=True)
    folder = base / f"{name}-{uuid.uuid4().hex[:8]}"
    with FileLock(base / f"{folder.name}.lock") as lock:  # the kernel releases it when the process dies
        folder.mkdir()  # after the lock: else another task could delete it as stale
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
