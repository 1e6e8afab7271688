"""The Ray task of one job: unpack the bundle on the node, run `cluster/node.py` there, and pass its messages on.

Ray ships this module by value and it imports only the standard library, so a node needs the environment (torch, dvc,
ray), but neither the repository nor the package: the bundle contains the code.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import importlib.metadata
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """Make and return this node's folder for `project`, in GANEALOGY_SCRATCH or the system's temporary directory."""
    base = os.environ.get("GANEALOGY_SCRATCH") or f"{tempfile.gettempdir()}/ganealogy-{getpass.getuser()}"
    path = Path(base) / project
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


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
    for stale_lock in base.glob("*.lock"):
        folder = base / stale_lock.stem
        if folder.is_dir():
            with open(stale_lock, "w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                stale_lock.unlink(missing_ok=True)
    folder = base / f"{name}-{uuid.uuid4().hex[:8]}"
    lock = base / f"{folder.name}.lock"
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel releases it when the process dies
        folder.mkdir()  # after the lock: else another task could delete it as stale
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
