"""Maps over real processes, which neither hang nor outlive their parent."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganealogy.data import workers
from ganealogy.errors import GanealogyError

ORPHANS = """
import os, sys, time
from ganealogy.data.workers import parallel_map

def sleep(context, item):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(60)

if __name__ == "__main__":
    list(parallel_map(sleep, range(2), str, (), 2))
"""


def test_results_are_in_the_order_of_the_items() -> None:
    assert list(workers.parallel_map(operator.add, range(50), int, ("5",), 1)) == list(range(5, 55))
    assert list(workers.parallel_map(operator.add, range(50), int, ("5",), 2)) == list(range(5, 55))


def test_each_worker_makes_its_context_once() -> None:
    pids = set(workers.parallel_map(operator.sub, [0] * 20, os.getpid, (), 2))
    assert len(pids) <= 2 and os.getpid() not in pids


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_a_worker_is_raised(processes: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(workers.parallel_map(operator.truediv, [1, 0, 1], int, ("5",), processes))
    with pytest.raises(ValueError, match="invalid literal"):
        list(workers.parallel_map(operator.add, [1], int, ("five",), processes))


def test_a_killed_worker_is_a_one_line_error() -> None:
    with pytest.raises(GanealogyError, match="a worker process was killed"):
        list(workers.parallel_map(os.kill, [signal.SIGKILL], os.getpid, (), 2))


def test_only_a_few_items_are_in_flight() -> None:
    taken = []

    def items() -> object:
        for item in range(100):
            taken.append(item)
            yield item

    results = workers.parallel_map(operator.add, items(), int, ("0",), 2)  # type: ignore[arg-type]
    next(results)
    assert len(taken) <= 6
    results.close()  # type: ignore[attr-defined]


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    pids = tmp_path / "pids"
    pids.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(workers.__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script), str(pids)], env=environment, stderr=subprocess.DEVNULL)
    started = within(15, lambda: len(list(pids.iterdir())) == 2)
    parent.kill()
    parent.wait()
    assert started
    assert within(5, lambda: not any(alive(int(entry.name)) for entry in pids.iterdir()))


def within(seconds: float, condition: object) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_number_of_processes_is_capped_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANEALOGY_THREADS", "1")
    assert workers.count() == 1
    monkeypatch.setenv("GANEALOGY_THREADS", "4096")
    assert workers.count() == os.cpu_count()
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("GANEALOGY_THREADS", wrong)
        with pytest.raises(GanealogyError, match="GANEALOGY_THREADS"):
            workers.count()
