"""`ganealogy repro` on this machine: one pool for all versions, then DVC; the outcome is that of `dvc repro`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh, ran

from ganealogy.workspace import run_dir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
REPRO = (sys.executable, "-m", "ganealogy", "repro")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with two versions and different seeds, before anything has trained."""
    workspace = fresh(tmp_path_factory.mktemp("repro") / "prepared")
    workspace.edit("params.yaml", "seeds: [0]", "seeds: [0, 1]\n  more_seeds: {v3: [5]}")
    workspace.dvc("repro", "reference")
    return workspace


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(prepared.path, tmp_path / "my work", symlinks=True)
    return Workspace(tmp_path / "my work")


def results(workspace: Workspace) -> dict[str, bytes]:
    runs = workspace.path / "build/runs"
    found = {path.relative_to(runs).as_posix(): path for path in runs.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if "/cost/" not in name}


def lock(workspace: Workspace) -> str:
    """Return dvc.lock without the hashes and sizes of what has clocks in it."""
    text = (workspace.path / "dvc.lock").read_text()
    return re.sub(
        r"(path: (?:build/runs\S*/cost/\S+|build/runs|reports\S*)\n(?:\s+hash: md5\n)?)(?:\s+\w+: \S+\n)+", r"\1", text
    )


def test_one_pool_ends_as_dvc_repro_does(workspace: Workspace, prepared: Workspace, tmp_path: Path) -> None:
    done = workspace.run(*REPRO)
    finished = re.findall(r"^(\S+): done in", done.stdout, flags=re.M)
    assert sorted(finished) == ["v1-0", "v1-1", "v3-0", "v3-1", "v3-5"]
    stages = ran(done.stdout)
    assert stages.count("inputs") == 2 and stages[-1] == "report" and "train@v3" in stages
    assert "nothing" not in done.stdout and ": done in" not in done.stdout.partition("Running stage 'train@v1'")[2]
    assert ran(workspace.dvc("repro")) == ["inputs"]
    shutil.copytree(prepared.path, tmp_path / "plain", symlinks=True)
    plain = Workspace(tmp_path / "plain")
    plain.dvc("repro")
    assert results(workspace) == results(plain)
    assert lock(workspace) == lock(plain)
    assert ran(workspace.run(*REPRO).stdout) == ["inputs", "inputs"], "a second time nothing runs"


def test_a_failed_run_stops_no_other_and_the_report_has_the_rest(workspace: Workspace) -> None:
    """v3 with seed 1 is killed while it trains."""
    slow = workspace.environment(GANEALOGY_STEP_SECONDS="0.2", GANEALOGY_JOBS="2")
    with subprocess.Popen(
        REPRO, cwd=workspace.path, env=slow, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 300
        worker = None
        while worker is None:
            assert time.monotonic() < deadline and process.poll() is None
            for path in (workspace.path / "build/wip").glob("*/train/run.json"):
                text = path.read_text()
                if '"version": "v3"' in text and '"seed": 1,' in text and (path.parents[1] / "holder").exists():
                    worker = int((path.parents[1] / "holder").read_text())
            time.sleep(0.02)
        os.kill(worker, signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == 2, said
    assert "v3 seed 1: its process was killed by SIGKILL" in said.splitlines()[-1]
    assert "`ganealogy repro` runs what failed" in said.splitlines()[-1]
    kept = [run_dir("v3", seed, workspace.path) / "evaluate/metrics.json" for seed in (0, 1, 5)]
    assert [path.exists() for path in kept] == [True, False, True]
    assert "v3 seed 1" in (workspace.path / "reports/report.md").read_text()
    again = workspace.run(*REPRO)
    assert re.findall(r"^(\S+): done in", again.stdout, flags=re.M) == ["v3-1"]


def test_if_every_run_fails_the_cause_is_told(workspace: Workspace) -> None:
    packed = workspace.path / "data/packed/train.npy"
    packed.chmod(0o644)
    packed.write_bytes(packed.read_bytes()[:-1] + b"\0")
    os.utime(packed, ns=(1, 1))
    done = workspace.run(*REPRO, check=False)
    assert done.returncode in (0, 2) and "Traceback" not in done.stdout
    if done.returncode:
        assert "train.npy" in done.stdout.splitlines()[-1]


def test_ctrl_c_is_one_line_and_the_next_goes_on(workspace: Workspace) -> None:
    slow = workspace.environment(GANEALOGY_STEP_SECONDS="0.3")
    with subprocess.Popen(
        REPRO,
        cwd=workspace.path,
        env=slow,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    ) as process:
        deadline = time.monotonic() + 300
        while not list((workspace.path / "build/wip").glob("*/checkpoints/*.json")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, _ = process.communicate()
    assert process.returncode == 130, said
    assert "the next `ganealogy repro` continues from here" in said and "Traceback" not in said
    done = workspace.run(*REPRO)
    assert ran(done.stdout)[-1] == "report"


def test_a_limit_of_runs_at_a_time(workspace: Workspace) -> None:
    workspace.edit("params.yaml", "[v1, v3]\n  seeds: [0, 1]\n  more_seeds: {v3: [5]}", "[v1]\n  seeds: [0, 1]")
    slow = workspace.environment(GANEALOGY_STEP_SECONDS="0.1", GANEALOGY_JOBS="2")
    counts = set()
    with subprocess.Popen([*REPRO, "--jobs", "1"], cwd=workspace.path, env=slow, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            counts.add(len(list((workspace.path / "build/wip").glob("*/holder"))))
            time.sleep(0.02)
    assert process.returncode == 0 and counts == {0, 1}
    refused = workspace.run(*REPRO, "--jobs", "0", check=False)
    assert refused.returncode == 2 and "--jobs" in refused.stdout
