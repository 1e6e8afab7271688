"""What the machine offers, within its container's limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ganealogy.runtime import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 8), ("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1)],
)
def test_cores_are_those_of_the_container(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    if limit:
        (cgroup / "cpu.max").write_text(f"{limit}\n")
    assert machine.cores() == expected


def test_free_memory_is_that_of_the_container(cgroup: Path) -> None:
    whole = machine.free_memory()
    assert whole > 0
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "memory.current").write_text("1000\n")
    assert machine.free_memory() > 1000
    (cgroup / "memory.max").write_text("5000\n")
    assert machine.free_memory() == 4000


def test_gpus_are_counted_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    assert machine.gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpus() == []
    for value, expected in (("", []), ("1", ["1"]), ("0,3", ["0", "3"]), ("-1", []), ("GPU-ab12", ["GPU-ab12"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert machine.gpus() == expected
