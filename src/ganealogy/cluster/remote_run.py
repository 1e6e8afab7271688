"""What a node does for one run: a clone of its own, the stages of one version and seed, the results sent on.

Ray ships this module by value, so that a node needs the environment (torch, dvc, ray, git) and neither this
repository nor the package: it imports the standard library and nothing else. The stages run the clone's own code.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = ["build/plan", "data/packed", "data/reference"]
"""What the first stages made and every run reads."""
STAGES = ("train", "sample", "evaluate")
LEASH = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux':\n"
    "    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)\n"
    "    if os.getppid() != int(sys.argv[1]): sys.exit(143)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
"""Runs a command that gets SIGTERM when the process that started it is gone: DVC would leave a training behind."""
LOG_LINES = 40


@dataclass(frozen=True)
class Order:
    """One run, and all that a node needs to know to do it."""

    project: str
    """A name for the workspace that no other has: the node's folder."""
    run: str
    """v3-1"""
    ref: str
    """The commit in the bundle."""
    config: str
    """.dvc/config.local, with `cache_mark` where the cache's path belongs."""
    cache_mark: str
    cache: str | None
    """A cache to share with the workspace, on its own machine."""
    home: str | None
    """The workspace, where it is on this machine: work in progress and MLflow's store lie there."""
    remote: str | None
    """The DVC remote's name: data comes from there, results and checkpoints go there."""
    key: str
    """The training's: its checkpoints are found by it."""
    environment: dict[str, str]


@dataclass(frozen=True)
class Result:
    run: str
    node: str
    seconds: float
    problem: str | None
    """What went wrong, in one line; None: all is done."""


def describe() -> dict[str, str]:
    """What this node would compute with; {"problem": …} names what is missing."""
    found = {"node": socket.gethostname(), "python": platform.python_version()}
    for name in ("torch", "dvc"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found["problem"] = f"{name} is not installed for {sys.executable}"
    if shutil.which("git") is None:
        found["problem"] = "git is not installed"
    return found


def scratch(project: str) -> Path:
    """This node's folder for the project: GANEALOGY_SCRATCH, else the system's folder for temporary files."""
    base = os.environ.get("GANEALOGY_SCRATCH") or f"{tempfile.gettempdir()}/ganealogy-{getpass.getuser()}"
    path = Path(base) / project
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def carry_out(order: Order, bundle: bytes, board: Any) -> Result:
    """Do one run. A failure of the run is a result; only a node that dies is an error, which Ray answers."""
    began = time.monotonic()
    node = socket.gethostname()

    def tell(line: str) -> None:
        board.tell.remote(order.run, node, line)

    try:
        _carry_out(order, bundle, tell)
        problem = None
    except Failed as failure:
        problem = str(failure)
    except OSError as error:
        problem = f"{error.filename or 'a file'}: {error.strerror or error}"
    return Result(order.run, node, round(time.monotonic() - began, 3), problem)


class Failed(Exception):  # noqa: N818 (a result of a run)
    """One line."""


def _carry_out(order: Order, bundle: bytes, tell: Any) -> None:
    base = scratch(order.project)
    tell("clone")
    with _folder(base, order.run) as clone:
        _clone(order, bundle, clone, Path(order.cache or base / "cache"))
        call = Caller(clone, order.environment, tell)
        # One task of a node fetches, the others find it in the node's cache.
        with _alone(base / "fetch.lock"):
            tell("data")
            call.dvc("pull" if order.remote else "checkout", *SHARED)
        targets = [f"{stage}@{order.run}" for stage in STAGES]
        pull = ["--pull"] if order.remote else []
        with _checkpoints(order, call):
            call.dvc("repro", *pull, "--allow-missing", targets[-1])
        if order.remote:
            tell("push")
            call.dvc("push", "--run-cache", *targets)


@contextlib.contextmanager
def _folder(base: Path, run: str) -> Iterator[Path]:
    """An empty folder, gone afterwards; first those go that a killed task has left, whose locks nobody holds."""
    for left in base.glob("*.lock"):
        folder = base / left.stem
        if folder.is_dir():
            with open(left, "w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                left.unlink(missing_ok=True)
    folder = base / f"{run}-{uuid.uuid4().hex[:8]}"
    lock = base / f"{folder.name}.lock"
    with _alone(lock):
        folder.mkdir()  # after the lock: no other task can take it for left behind
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _clone(order: Order, bundle: bytes, clone: Path, cache: Path) -> None:
    path = clone / ".bundle"
    path.write_bytes(bundle)
    for command in (
        ["init", "-q"],
        ["fetch", "-q", str(path), order.ref],
        ["checkout", "-q", "--detach", "FETCH_HEAD"],
    ):
        done = subprocess.run(["git", "-C", str(clone), *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"git {command[0]}: {done.stderr.strip()}")
    path.unlink()
    local = clone / ".dvc" / "config.local"
    local.write_text(order.config.replace(order.cache_mark, str(cache)))
    local.chmod(0o600)  # it may hold a password
    if order.home:  # an interrupted training is the workspace's own, whoever goes on with it
        for name in ("wip", "mlflow"):
            target = Path(order.home) / "build" / name
            target.mkdir(parents=True, exist_ok=True)
            (clone / "build").mkdir(exist_ok=True)
            (clone / "build" / name).symlink_to(target)


@contextlib.contextmanager
def _checkpoints(order: Order, call: Caller) -> Iterator[None]:
    """Around the stages: checkpoints that the remote has come first, new ones are sent there as they appear."""
    if order.remote is None:
        yield
        return
    module = [sys.executable, "-m", "ganealogy.cluster.checkpoint_sync"]
    where = [order.remote, order.key]
    call([*module, "fetch", *where])
    follower = subprocess.Popen(
        [sys.executable, "-c", LEASH, str(os.getpid()), *module, "follow", *where],
        cwd=call.clone,
        env=call.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        follower.terminate()  # it sends what is new, and goes
        try:
            follower.wait(60)
        except subprocess.TimeoutExpired:
            follower.kill()
            follower.wait()
    call([*module, "forget", *where])


class Caller:
    """Runs commands in a clone, and passes on what they print, line by line."""

    def __init__(self, clone: Path, environment: dict[str, str], tell: Any) -> None:
        self.clone, self.tell = clone, tell
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "RAY_"))}
        self.environment = {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": "src",
            "PYTHONUNBUFFERED": "1",
            "DVC_SITE_CACHE_DIR": str(clone / ".dvc" / "site"),  # its index of this clone goes with the clone
            **environment,
        }

    def dvc(self, *arguments: str) -> None:
        self([sys.executable, "-m", "dvc", *arguments])

    def __call__(self, command: list[str]) -> None:
        """Raises: Failed with the command's own last words."""
        process = subprocess.Popen(
            [sys.executable, "-c", LEASH, str(os.getpid()), *command],
            cwd=self.clone,
            env=self.environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        last: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                last = [*last[-LOG_LINES:], line.rstrip()]
                self.tell(line.rstrip())
        if process.wait():
            raise Failed(_why(last) or f"{' '.join(command[1:4])} ended with {process.returncode}")


def _why(lines: list[str]) -> str | None:
    """The line that says most: the stage's own error, else the last line of DVC's, else the last."""
    own = [line for line in lines if line.startswith("ganealogy: ")]
    raised = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    dvc = [line for line in lines if line.startswith("ERROR: ")]
    telling = [*own[-1:], *raised[-1:], *dvc[-1:], *lines[-1:]]
    return telling[0] if telling else None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock of this node; the system lets go of it when the process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
