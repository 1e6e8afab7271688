"""Jobs in worker processes: one that fails, crashes or is killed takes no other with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server's guard is Linux's")

SCRIPT = """
    import os, signal, sys, time
    from dataclasses import dataclass
    from pathlib import Path
    from ganealogy.errors import GanealogyError
    from ganealogy.runtime import process, workers

    @dataclass(frozen=True)
    class Job:
        name: str

    class Bad(Exception):
        def __init__(self, one, two):
            super().__init__("cannot be unpickled")

    def work(job, send_progress):
        print("hello from", job.name)
        print("ganealogy: a line for the user", file=sys.stderr) if job.name == "talks" else None
        print("not for the user", file=sys.stderr)
        send_progress(stage="train", fraction=0.5)
        if job.name == "error":
            raise GanealogyError("fix me")
        if job.name == "bug":
            raise Bad(1, 2)
        if job.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.name == "exits":
            os._exit(7)
        if job.name.startswith("waits"):
            interruption = process.Interruption()
            Path(job.name + ".pid").write_text(str(os.getpid()))
            while not interruption:
                time.sleep(0.01)
            Path(job.name + ".saved").write_text("checkpoint")
            raise process.Terminated
        return [job.name, os.environ.get("SLOT"), os.environ["OMP_NUM_THREADS"], "torch" in sys.modules]

    class Watcher(workers.Watcher):
        def on_line(self, name, line):
            print("LINE", name, line, flush=True)
        def on_progress(self, name, progress):
            print("PROGRESS", name, progress, flush=True)

    def main(names, slots, preload):
        if preload:
            workers.LIBRARIES = preload.split(",")
        interruption = process.Interruption()
        ended = workers.run(work, [Job(name) for name in names.split(",")], [{"SLOT": str(n)} for n in range(slots)],
                            Watcher(), Path("logs"), interruption)
        for name, end in ended.items():
            print("ENDED", name, end.how, end.value, end.reason, flush=True)
        sys.exit(interruption.exit_code if interruption else 0)

    if __name__ == "__main__":
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "numpy")
"""


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    return subprocess.Popen(
        [sys.executable, "script.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    process = start(folder, *arguments, **environment)
    output, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, output


def test_each_job_ends_by_itself(tmp_path: Path) -> None:
    code, output = run(tmp_path, "good,error,bug,killed,exits,talks,last", "2")
    assert code == 0, output
    assert (
        "ENDED good done ['good', '1', '1', False]" in output or "ENDED good done ['good', '0', '1', False]" in output
    )
    assert "ENDED error error None fix me" in output
    assert "ENDED bug bug None Bad: cannot be unpickled" in output
    assert "ENDED killed killed None its process was killed by SIGKILL; was the memory full?" in output
    assert "ENDED exits killed None its process ended with 7: not for the user" in output
    assert "ENDED last done" in output
    assert "PROGRESS good {'stage': 'train', 'fraction': 0.5}" in output
    assert "LINE talks ganealogy: a line for the user" in output
    assert "not for the user" not in output.replace("its process ended with 7: not for the user", "")
    assert "hello from" not in output
    assert (tmp_path / "logs/good.log").read_text() == "hello from good\nnot for the user\n"
    assert "Traceback" in (tmp_path / "logs/bug.log").read_text()


def test_a_log_that_cannot_be_written_is_named_and_stops_no_other_job(tmp_path: Path) -> None:
    (tmp_path / "logs/good.log").mkdir(parents=True)
    code, output = run(tmp_path, "good,last", "2")
    assert code == 0 and "ENDED last done" in output, output
    assert "ENDED good error None logs/good.log: Is a directory" in output, output


@pytest.mark.parametrize("preload", ["no_such_library", "broken,numpy"])
def test_a_library_that_cannot_be_loaded_costs_only_time(preload: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not here')\n")
    code, output = run(tmp_path, "good,last", "2", preload)
    assert code == 0 and "ENDED good done" in output and "ENDED last done" in output, output


@pytest.mark.parametrize("length", [75, 76, 110])
def test_the_temporary_directory_may_have_a_long_path(length: int, tmp_path: Path) -> None:
    """A socket's path has at most 107 bytes."""
    folder = tempfile.mkdtemp(prefix="g", dir="/tmp")
    place = Path(folder, "x" * (length - len(folder) - 1))
    place.mkdir()
    code, output = run(tmp_path, "good", "1", TMPDIR=str(place))
    assert code == 0 and "ENDED good done" in output, output
    assert list(place.iterdir()) == []
    shutil.rmtree(folder)


def waiting(folder: Path, *names: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start jobs that wait for a signal. Return the stage and all processes below it."""
    process = start(folder, ",".join(names), "2")
    wait_for(lambda: all((folder / f"{name}.pid").exists() for name in names[:2]), process)
    return process, psutil.Process(process.pid).children(recursive=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.02)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=30)[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_reaches_the_workers_which_save_their_work(number: int, code: int, tmp_path: Path) -> None:
    process, below = waiting(tmp_path, "waits1", "waits2", "later")
    process.send_signal(number)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, output
    assert "ENDED waits1 stopped" in output and "ENDED waits2 stopped" in output
    assert "ENDED later" not in output, "it had not begun"
    assert (tmp_path / "waits1.saved").exists() and (tmp_path / "waits2.saved").exists()
    assert all_gone(below)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_terminals_signal_reaches_the_whole_group(number: int, code: int, tmp_path: Path) -> None:
    """Ctrl-C, and the signal of a terminal that is closed."""
    process, below = waiting(tmp_path, "waits1", "waits2")
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, output
    assert (tmp_path / "waits1.saved").exists() and (tmp_path / "waits2.saved").exists()
    assert all_gone(below)


def test_nothing_outlives_a_killed_stage(tmp_path: Path) -> None:
    process, below = waiting(tmp_path, "waits1", "waits2")
    process.kill()
    process.communicate()
    assert all_gone(below)
    assert (tmp_path / "waits1.saved").exists() and (tmp_path / "waits2.saved").exists(), "the workers save their work"


def test_a_worker_that_is_stopped_alone_stops_no_other(tmp_path: Path) -> None:
    process, _ = waiting(tmp_path, "waits1", "waits2")
    os.kill(int((tmp_path / "waits1.pid").read_text()), signal.SIGTERM)
    wait_for(lambda: (tmp_path / "waits1.saved").exists(), process)
    os.kill(int((tmp_path / "waits2.pid").read_text()), signal.SIGKILL)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert "ENDED waits1 stopped" in output and "ENDED waits2 killed" in output
