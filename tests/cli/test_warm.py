"""Stages that run as forks of a process with torch loaded behave as if they ran by themselves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers.pipeline import Workspace, fresh
from helpers.trainings import ROOT, workspace

from ganealogy.cli import warm
from ganealogy.runtime import process

SOURCE = {"PYTHONPATH": str(ROOT / "src")}
VERB = (sys.executable, "-m", "ganealogy")
PATIENCE_S = 60


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    """Yield the environment in which `ganealogy warm` starts commands."""
    plain = {**os.environ, **SOURCE, "COLUMNS": "100"}
    with subprocess.Popen([*VERB, "warm", "sleep", "600"], env=plain) as keeper:
        command = until(lambda: [child for child in psutil.Process(keeper.pid).children() if child.name() == "sleep"])
        yield {**plain, warm.NAME: command[0].environ()[warm.NAME]}
        keeper.terminate()
        assert keeper.wait(PATIENCE_S) == 128 + signal.SIGTERM, "the code of the command, which got SIGTERM"


def until(found: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    deadline = time.monotonic() + PATIENCE_S
    while not (processes := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return processes


def do(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VERB, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


def cold(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != warm.NAME}


def start(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start a training. Return it and the fork that runs it."""
    stage = subprocess.Popen(
        [*VERB, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: [stage] if list(folder.glob("build/wip/*/checkpoints/*")) else [])  # type: ignore[list-item]
    fork = psutil.Process(int(next(folder.glob("build/wip/*/holder")).read_text()))
    assert fork.pid != stage.pid and "warm" in fork.cmdline()
    return stage, fork


def outputs(folder: Path) -> dict[str, bytes]:
    run = folder / "build" / "runs" / "v1-0"
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.parent.name != "cost"
    }


def test_a_fork_writes_the_same_bytes(tmp_path: Path, served: dict[str, str]) -> None:
    alone, forked = workspace(tmp_path / "alone"), workspace(tmp_path / "forked")
    for folder, environment in ((alone, cold(served)), (forked, served)):
        for stage in ("train", "sample"):
            done = do(folder, environment, stage, "v1", "0")
            assert done.returncode == 0, done.stderr
    assert outputs(forked) == outputs(alone) and len(outputs(alone)) > 8


def test_a_fork_has_the_streams_directory_environment_and_exit_code_of_the_stage(
    tmp_path: Path, served: dict[str, str]
) -> None:
    right = do(ROOT, served, "show", "v3")
    assert right.stdout == do(ROOT, cold(served), "show", "v3").stdout and right.returncode == 0
    wrong = do(tmp_path, served, "train", "v1", "0")
    assert wrong.returncode == 2
    assert wrong.stderr == do(tmp_path, cold(served), "train", "v1", "0").stderr
    threads = workspace(tmp_path / "threads")
    odd = do(threads, {**served, "GANEALOGY_THREADS": "none"}, "train", "v1", "0")
    assert odd.returncode == 2 and "GANEALOGY_THREADS = 'none'" in odd.stderr


def stand_in(folder: Path, main: str) -> None:
    """Write a package of our name with another command line."""
    package = folder / "ganealogy"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli" / "__init__.py").touch()
    (package / "cli" / "main.py").write_text(main)
    real = SOURCE["PYTHONPATH"] + "/ganealogy"
    (package / "__main__.py").write_text(
        f"import ganealogy.cli\nganealogy.__path__.append({real!r})\nganealogy.cli.__path__.append({real + '/cli'!r})\n"
        "from ganealogy.cli import warm\nwarm.hand_over()\nraise SystemExit('not handed over')\n"
    )


def test_a_bug_prints_its_traceback(tmp_path: Path, served: dict[str, str]) -> None:
    stand_in(tmp_path, "def main():\n    raise KeyError('a fault')\n")
    done = do(tmp_path, served, "plan")
    assert done.returncode == 1 and "KeyError: 'a fault'" in done.stderr, done.stderr


def test_a_stage_ends_after_its_exit_handlers(tmp_path: Path, served: dict[str, str]) -> None:
    late = "import atexit, pathlib, sys, time\ndef late():\n    time.sleep(1)\n    pathlib.Path('late').touch()\n"
    stand_in(tmp_path, late + "def main():\n    atexit.register(late)\n    sys.exit(7)\n")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # a pipe stays open in the fork
    done = subprocess.run([*VERB, "plan"], cwd=tmp_path, env=served, timeout=PATIENCE_S, **quiet)  # type: ignore[call-overload]
    assert done.returncode == 7 and (tmp_path / "late").exists()


def test_a_stopped_stage_writes_its_checkpoint(tmp_path: Path, served: dict[str, str]) -> None:
    folder = workspace(tmp_path / "work", kimg=80, ticks=1000)
    stage, _ = start(folder, served, "train", "v1", "0")
    stage.terminate()
    _, said = stage.communicate(timeout=PATIENCE_S)
    assert stage.returncode == process.TERMINATED and "the next `dvc repro` resumes it" in said


def test_a_fork_ends_with_its_stage(tmp_path: Path, served: dict[str, str]) -> None:
    folder = workspace(tmp_path / "work", kimg=80, ticks=1000)
    stage, fork = start(folder, served, "train", "v1", "0")
    stage.kill()
    fork.wait(PATIENCE_S)
    run = json.loads(next(folder.glob("build/wip/*/train/run.json")).read_text())
    assert run["status"] == "interrupted", "it had time to write its checkpoint"
    assert "Traceback" not in stage.communicate()[1]


def test_a_stage_ends_with_its_fork(tmp_path: Path, served: dict[str, str]) -> None:
    folder = workspace(tmp_path / "work", kimg=80, ticks=1000)
    stage, fork = start(folder, served, "train", "v1", "0")
    fork.kill()
    _, said = stage.communicate(timeout=PATIENCE_S)
    assert stage.returncode == process.KILLED
    assert f"process {fork.pid}, which ran this stage, was killed; run it again" in said


def test_ctrl_c_is_delivered_once(tmp_path: Path) -> None:
    """A terminal sends it to all foreground processes; a training that gets it twice does not finish its step."""
    folder = workspace(tmp_path / "work", kimg=80, ticks=1000)
    command = [*VERB, "warm", *VERB, "train", "v1", "0"]
    environment = {**os.environ, **SOURCE}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, process_group=0
    ) as keeper:
        until(lambda: [keeper] if list(folder.glob("build/wip/*/checkpoints/*")) else [])  # type: ignore[list-item]
        below = psutil.Process(keeper.pid).children(recursive=True)
        os.killpg(keeper.pid, signal.SIGINT)
        _, said = keeper.communicate(timeout=PATIENCE_S)
    assert keeper.returncode == process.INTERRUPTED and "the next `dvc repro` resumes it" in said
    _, alive = psutil.wait_procs(below, PATIENCE_S)
    assert len(below) == 3 and not alive


@pytest.mark.parametrize("difference", ["a library's setting", "its terminal", "no server", "no answer"])
def test_a_stage_in_another_environment_runs_by_itself(difference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")
        listener.listen()
        address = listener.getsockname()[1:].decode()
        monkeypatch.setenv(warm.NAME, f"{warm._compatibility()}:{address}")
        if difference == "a library's setting":
            monkeypatch.setenv("OMP_NUM_THREADS", "3")
        elif difference == "its terminal":
            monkeypatch.setattr(os, "getpgrp", lambda: 1)
        elif difference == "no server":
            listener.close()
        else:
            monkeypatch.setattr(socket, "send_fds", lambda *_: listener.accept()[0].close())
        warm.hand_over()
        assert warm.NAME not in os.environ, "a process that this stage starts is no stage"
        if not difference.startswith("no"):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_requests_of_other_users_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        socket.send_fds(theirs, [b"\n"], [0, 1, 2])
        theirs.sendall(b"[[], [], [], []]\n")
        with monkeypatch.context() as changed:
            changed.setattr(os, "getuid", lambda: -1)
            assert warm._request(ours) == ([], None)
        streams, request = warm._request(ours)
        assert request == [[], [], [], []] and len(streams) == 3
        for stream in streams:
            os.close(stream)


def test_a_stage_sends_nothing_to_another_users_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user may listen on the address of a server that was killed."""
    socket.setdefaulttimeout(5)
    monkeypatch.setattr(os, "getuid", lambda: -1)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")
            listener.listen()
            monkeypatch.setenv(warm.NAME, f"{warm._compatibility()}:{listener.getsockname()[1:].decode('latin-1')}")
            warm.hand_over()
            with listener.accept()[0] as connection:
                assert connection.recv(1) == b"", "it hung up at once"
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize("sent", [b"", b"no JSON\n"])
def test_an_incomplete_request_is_dropped(sent: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours:
        with theirs:
            socket.send_fds(theirs, [b"\n"], [0, 1, 2])
            theirs.sendall(sent)
        streams, request = warm._request(ours)
        assert request is None and len(streams) == 3
        for stream in streams:
            os.close(stream)


def test_without_a_server_stages_run_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('a torch that cannot be loaded')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE['PYTHONPATH']}"}
    done = do(ROOT, environment, "warm", *VERB, "--help")
    assert done.returncode == 0 and "a family tree of GANs" in done.stdout
    assert "a torch that cannot be loaded" in done.stderr


def test_loading_starts_no_threads_and_no_cuda() -> None:
    """A fork would lack threads and cannot use CUDA. OpenBLAS starts its threads on import, so it is limited to one."""
    code = (
        "import psutil, torch; from ganealogy.cli import warm; warm._load()\n"
        "import os; threads, child = psutil.Process().num_threads(), os.fork()\n"
        "if not child: os._exit(torch._C._cuda_isInBadFork())  # true if CUDA was queried before the fork\n"
        "print(threads, os.waitpid(child, 0)[1])"
    )
    environment = {**os.environ, **SOURCE, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1 0\n"


def test_a_fork_reads_our_own_modules_again(tmp_path: Path) -> None:
    work: Workspace = fresh(tmp_path / "work")
    help_ = f"{sys.executable} -m ganealogy --help"
    edit = "echo 'print(\"EDITED\")' >> src/ganealogy/cli/main.py"
    done = work.ganealogy("warm", "sh", "-c", f"{help_} && {edit} && {help_}")
    assert done.returncode == 0
    assert done.stdout.count("Usage:") == 2 and done.stdout.count("EDITED") == 1


@pytest.mark.parametrize(
    ("command", "code"), [(("true",), 0), (("sh", "-c", "exit 7"), 7), (("sh", "-c", "kill -9 $$"), 137)]
)
def test_the_exit_code_of_the_command_is_returned(command: tuple[str, ...], code: int) -> None:
    assert do(ROOT, {**os.environ, **SOURCE}, "warm", *command).returncode == code


def test_a_command_may_end_before_the_server_starts() -> None:
    """The server is stopped while it starts."""
    slow = "os.register_at_fork(after_in_child=lambda: time.sleep(2))"
    program = f"import os, time; from ganealogy.cli import main as cli; {slow}; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "warm", "true"], env={**os.environ, **SOURCE}, timeout=PATIENCE_S
    )
    assert done.returncode == 0


def test_options_belong_to_the_command() -> None:
    done = do(ROOT, {**os.environ, **SOURCE}, "warm", "echo", "-S", "train.lr=1", "--help")
    assert done.stdout == "-S train.lr=1 --help\n"


def test_an_unknown_command_is_refused() -> None:
    done = do(ROOT, {**os.environ, **SOURCE}, "warm", "nosuch", "repro")
    assert done.returncode == 2
    assert done.stderr.startswith("ganealogy: nosuch: no such command; `ganealogy warm dvc repro`")
