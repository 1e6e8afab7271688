"""Run one version and seed on a cluster node: clone the repo, run its stages, push the results.

Ray ships this module by value and imports only the standard library, so a node needs the environment (torch, dvc, ray,
git) but neither the repository nor the package. The stages run the clone's code.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED_INPUTS = ["build/plan", "data/packed", "data/reference"]
"""Outputs of the stages before the runs, read by every run."""
STAGES = ("train", "sample", "evaluate")
EXIT_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux':\n"
    "    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)\n"
    "    if os.getppid() != int(sys.argv[1]): sys.exit(143)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
"""Python code that runs a command which gets SIGTERM when its parent dies: DVC does not stop the training it started.
Arguments: the parent's process id, the command."""
LAST_LINES = 40
"""Lines of output that are searched for the cause of a failure."""


@dataclass(frozen=True)
class Job:
    """One run, with all that a node needs for it."""

    project: str
    """Unique name of the workspace: the node's folder for it."""
    run: str
    """Such as v3-1."""
    ref: str
    """The commit in the bundle."""
    config: str
    """.dvc/config.local, with `cache_placeholder` for the cache's path."""
    cache_placeholder: str
    cache: str | None
    """The workspace's cache, if the clone shares it."""
    workspace: str | None
    """The workspace, if it is on this machine: the clone uses its unfinished trainings and its MLflow store."""
    remote: str | None
    """Name of the DVC remote for data, results and checkpoints."""
    key: str
    """Run key of the training: the name of its checkpoints."""
    environment: dict[str, str]


@dataclass(frozen=True)
class Result:
    run: str
    node: str
    seconds: float
    problem: str | None
    """The cause of a failure, in one line; None: success."""


class RunFailed(Exception):  # noqa: N818 (a result of a run)
    """The cause of a failure, in one line."""


def describe() -> dict[str, str]:
    """Return this node's name and the versions of Python, torch and DVC; `problem` names what is missing."""
    versions = {"node": socket.gethostname(), "python": platform.python_version()}
    for name in ("torch", "dvc"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions["problem"] = f"{name} is not installed for {sys.executable}"
    if shutil.which("git") is None:
        versions["problem"] = "git is not installed"
    return versions


def scratch(project: str) -> Path:
    """Make and return this node's folder for `project`, in GANEALOGY_SCRATCH or the system's temporary directory."""
    base = os.environ.get("GANEALOGY_SCRATCH") or f"{tempfile.gettempdir()}/ganealogy-{getpass.getuser()}"
    path = Path(base) / project
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def run_job(job: Job, bundle: bytes, log_actor: Any) -> Result:
    """Do one run. Its failure is a result, not an exception: Ray retries a job only when its node dies.

    `bundle`: the git bundle of the workspace; `log_actor`: Ray's handle of a `scheduler.LogActor`.
    """
    start = time.monotonic()
    node = socket.gethostname()

    def log(line: str) -> None:
        log_actor.log.remote(job.run, node, line)

    try:
        _run_stages(job, bundle, log)
        problem = None
    except RunFailed as failure:
        problem = str(failure)
    except OSError as error:
        problem = f"{error.filename or 'a file'}: {error.strerror or error}"
    return Result(job.run, node, round(time.monotonic() - start, 3), problem)


def _run_stages(job: Job, bundle: bytes, log: Callable[[str], None]) -> None:
    base = scratch(job.project)
    log("clone")
    with _temporary_folder(base, job.run) as clone:
        _clone(job, bundle, clone, Path(job.cache or base / "cache"))
        runner = CommandRunner(clone, job.environment, log)
        # The first job of a node downloads the data, the others read it from the node's cache.
        with _node_lock(base / "fetch.lock"):
            log("data")
            runner.dvc("pull" if job.remote else "checkout", *SHARED_INPUTS)
        targets = [f"{stage}@{job.run}" for stage in STAGES]
        pull = ["--pull"] if job.remote else []
        with _checkpoints_on_remote(job, runner):
            runner.dvc("repro", *pull, "--allow-missing", targets[-1])
        if job.remote:
            log("push")
            runner.dvc("push", "--run-cache", *targets)


@contextlib.contextmanager
def _temporary_folder(base: Path, run: str) -> Iterator[Path]:
    """Make an empty folder and delete it afterwards; delete the folders of killed jobs, whose locks are free, first."""
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
    folder = base / f"{run}-{uuid.uuid4().hex[:8]}"
    lock = base / f"{folder.name}.lock"
    with _node_lock(lock):
        folder.mkdir()  # after the lock: else another job could delete it as stale
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _clone(job: Job, bundle: bytes, clone: Path, cache: Path) -> None:
    """Check out the bundle in `clone` and configure DVC there."""
    path = clone / ".bundle"
    path.write_bytes(bundle)
    for command in (["init", "-q"], ["fetch", "-q", str(path), job.ref], ["checkout", "-q", "--detach", "FETCH_HEAD"]):
        result = subprocess.run(["git", "-C", str(clone), *command], capture_output=True, text=True, check=False)
        if result.returncode:
            raise RunFailed(f"git {command[0]}: {result.stderr.strip()}")
    path.unlink()
    local = clone / ".dvc" / "config.local"
    local.write_text(job.config.replace(job.cache_placeholder, str(cache)))
    local.chmod(0o600)  # it may contain a password
    if job.workspace:  # an unfinished training can be resumed here or in the workspace
        for name in ("wip", "mlflow"):
            target = Path(job.workspace) / "build" / name
            target.mkdir(parents=True, exist_ok=True)
            (clone / "build").mkdir(exist_ok=True)
            (clone / "build" / name).symlink_to(target)


@contextlib.contextmanager
def _checkpoints_on_remote(job: Job, runner: CommandRunner) -> Iterator[None]:
    """Download the training's checkpoints, upload new ones during the block, and delete them all after success."""
    if job.remote is None:
        yield
        return
    module = [sys.executable, "-m", "ganealogy.cluster.checkpoint_sync"]
    arguments = [job.remote, job.key]
    runner.run([*module, "fetch", *arguments])
    uploader = subprocess.Popen(
        [sys.executable, "-c", EXIT_WITH_PARENT, str(os.getpid()), *module, "follow", *arguments],
        cwd=runner.clone,
        env=runner.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        uploader.terminate()  # it uploads the newest checkpoint before it exits
        try:
            uploader.wait(60)
        except subprocess.TimeoutExpired:
            uploader.kill()
            uploader.wait()
    runner.run([*module, "delete", *arguments])


class CommandRunner:
    """Runs commands in a clone and logs their output line by line."""

    def __init__(self, clone: Path, environment: dict[str, str], log: Callable[[str], None]) -> None:
        self.clone, self.log = clone, log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "RAY_"))}
        self.environment = {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": "src",
            "PYTHONUNBUFFERED": "1",
            "DVC_SITE_CACHE_DIR": str(clone / ".dvc" / "site"),  # DVC's index of the clone is deleted with the clone
            **environment,
        }

    def dvc(self, *arguments: str) -> None:
        """Raises: RunFailed when DVC fails."""
        self.run([sys.executable, "-m", "dvc", *arguments])

    def run(self, command: list[str]) -> None:
        """Raises: RunFailed with the line of output that best explains the failure."""
        process = subprocess.Popen(
            [sys.executable, "-c", EXIT_WITH_PARENT, str(os.getpid()), *command],
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
                last = [*last[-LAST_LINES:], line.rstrip()]
                self.log(line.rstrip())
        if process.wait():
            raise RunFailed(_error_line(last) or f"{' '.join(command[1:4])} ended with {process.returncode}")


def _error_line(lines: list[str]) -> str | None:
    """Return the last line of the first kind present: the stage's error, an exception, DVC's error, any line."""
    stage = [line for line in lines if line.startswith("ganealogy: ")]
    exceptions = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    dvc = [line for line in lines if line.startswith("ERROR: ")]
    candidates = [*stage[-1:], *exceptions[-1:], *dvc[-1:], *lines[-1:]]
    return candidates[0] if candidates else None


@contextlib.contextmanager
def _node_lock(path: Path) -> Iterator[None]:
    """Hold a lock among the jobs of this node; the kernel releases it when the process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
