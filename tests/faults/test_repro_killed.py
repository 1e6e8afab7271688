"""After `dvc repro` is killed anywhere, the next one ends in the same bytes, without leftovers (faults 2 and 3).

In CI one workspace is killed in each stage in turn and continues each time. `make soak` kills each stage in a workspace
of its own, and at random moments.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers.pipeline import Workspace, fresh, ran

from ganealogy.runtime import dvc_rwlock

STAGES = ("inputs", "plan", "download", "preprocess", "reference", "train", "sample", "evaluate", "report")
DEADLINE_S = 900
pytestmark = pytest.mark.timeout(3600)
REPRO = (sys.executable, "-m", "dvc", "repro")
POOL = (sys.executable, "-m", "ganealogy", "repro")
"""What `make repro` types: the runs of all versions from one pool of workers, then `dvc repro`."""


def planted(path: Path) -> Workspace:
    """A workspace with one version and few pictures."""
    workspace = fresh(path)
    workspace.edit("params.yaml", "versions: [v1, v3]", "versions: [v1]")
    workspace.edit("params.yaml", "count: 300", "count: 280")
    shutil.rmtree(workspace.path / "tests")
    return workspace


def environment(workspace: Workspace) -> dict[str, str]:
    """An environment in which the sync to MLflow fails at once."""
    return workspace.environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")


def repro(workspace: Workspace) -> None:
    """Do what `make repro` does, including the removal of a broken lock file."""
    dvc_rwlock.remove_broken(workspace.path)
    done = subprocess.run(
        REPRO,
        cwd=workspace.path,
        env=environment(workspace),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def start(workspace: Workspace, command: tuple[str, ...] = REPRO) -> subprocess.Popen[bytes]:
    dvc_rwlock.remove_broken(workspace.path)
    return subprocess.Popen(
        command,
        cwd=workspace.path,
        env=environment(workspace),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def stage_of(dvc: psutil.Process) -> str | None:
    """Return the stage that runs below this process; `pool`: workers that belong to no stage."""
    lines = []
    with contextlib.suppress(psutil.Error):
        for child in dvc.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended, and its parent has not noticed yet
                lines.append(child.cmdline())
    for line in lines:
        if "src/ganealogy" in line and "sync" not in line:  # of MLflow, beside the stages
            return line[line.index("src/ganealogy") + 1]
    return "pool" if any("forkserver" in part for line in lines for part in line) else None


def kill(workspace: Workspace, stage: str, number: int, delay_s: float, command: tuple[str, ...] = REPRO) -> None:
    """Start `dvc repro`, and kill it `delay_s` after `stage` began.

    A stage that had ended by then runs again and is killed sooner.
    """
    for fraction in (1, 0.5, 0.25, 0):
        if _kill(workspace, stage, number, delay_s * fraction, command):
            return
        # Let DVC forget what it has done, so that the stage runs again.
        (workspace.path / "dvc.lock").unlink(missing_ok=True)
        shutil.rmtree(workspace.path / ".dvc" / "cache" / "runs", ignore_errors=True)
        shutil.rmtree(workspace.path / "build" / "store", ignore_errors=True)
    pytest.fail(f"{stage} was never hit")


def _kill(workspace: Workspace, stage: str, number: int, delay_s: float, command: tuple[str, ...]) -> bool:
    """Return False if the stage had ended before the blow.

    SIGTERM is sent to the process that was started, as by a person; SIGKILL to it and its children, as in a power
    failure.
    """
    with start(workspace, command) as process:
        dvc, deadline = psutil.Process(process.pid), time.monotonic() + DEADLINE_S
        while stage_of(dvc) != stage:
            assert time.monotonic() < deadline, f"{stage} did not begin"
            if process.poll() is not None:
                return False
            time.sleep(0.01)
        time.sleep(delay_s)  # where in the stage the blow falls is chance, and the outcome must not depend on it
        hit = stage_of(dvc) == stage
        if process.poll() is not None:
            return False
        below = dvc.children(recursive=True)
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        process.wait(DEADLINE_S)
        gone, stay = psutil.wait_procs(below, timeout=60)
        for survivor in stay:
            survivor.kill()
        assert not stay, f"{[survivor.pid for survivor in stay]} outlived dvc, of {len(gone)}"
        return hit and process.returncode != 0


OTHERS = ("build/mlflow/", "build/store/", "build/logs/", "build/times/", "build/inputs.json")


def outputs(workspace: Workspace) -> dict[str, bytes]:
    """Return the pipeline's files by name, without MLflow's store and what has clocks in it."""
    kept: dict[str, bytes] = {}
    for root in ("build", "data", "reports"):
        for path in sorted((workspace.path / root).rglob("*")):
            name = str(path.relative_to(workspace.path))
            if path.is_file() and not name.startswith(OTHERS):
                kept[name] = path.read_bytes()
    return kept


def without_clocks(workspace: Workspace) -> dict[str, bytes]:
    """Return the outputs with equal costs and a report built from them."""
    costs = sorted((workspace.path / "build" / "runs").glob("*/cost/*/*.json"))
    assert len(costs) == 3, costs
    for path in costs:
        path.write_text(json.dumps({"seconds": 1.0, "images_per_second": 8.0, "device": "cpu", "resumed": 0}))
    code = "from ganealogy.report import build; build.build()"
    workspace.run(sys.executable, "-c", code)
    return outputs(workspace)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """The outputs of an undisturbed `dvc repro`."""
    workspace = planted(tmp_path_factory.mktemp("whole") / "work")
    repro(workspace)
    yield without_clocks(workspace)


def assert_as_if_nothing_had_been(workspace: Workspace, expected: dict[str, bytes]) -> None:
    repro(workspace)
    done = subprocess.run(REPRO, cwd=workspace.path, env=environment(workspace), capture_output=True, text=True)
    assert ran(done.stdout) == ["inputs"] and done.returncode == 0, "everything is certified"
    strays = [path for path in workspace.path.rglob("*.tmp") if ".dvc" not in path.parts and ".git" not in path.parts]
    assert not strays
    assert not list((workspace.path / "build").glob("wip/*")), "no work in progress"
    found = without_clocks(workspace)
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "command"),
    [
        (signal.SIGKILL, REPRO),
        (signal.SIGKILL, POOL),
        pytest.param(signal.SIGTERM, REPRO, marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, POOL, marks=pytest.mark.soak),
    ],
    ids=["killed", "killed-pool", "terminated", "terminated-pool"],
)
def test_repro_killed_in_every_stage_ends_in_the_same_bytes(
    number: int, command: tuple[str, ...], expected: dict[str, bytes], tmp_path: Path
) -> None:
    workspace = planted(tmp_path / "my work")
    chance = random.Random(number)
    for stage in STAGES if command == REPRO else (*STAGES[:5], "pool", "report"):
        kill(workspace, stage, number, chance.uniform(0, 1), command)
    assert_as_if_nothing_had_been(workspace, expected)


@pytest.mark.slow
@pytest.mark.parametrize("command", [REPRO, POOL], ids=["dvc", "pool"])
def test_repro_stopped_by_sigterm_during_a_training_resumes(
    command: tuple[str, ...], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """In CI the training only; the other stages under `make soak`."""
    workspace = planted(tmp_path / "my work")
    kill(workspace, "train" if command == REPRO else "pool", signal.SIGTERM, 1.0, command)
    assert_as_if_nothing_had_been(workspace, expected)


@pytest.mark.soak
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_a_stage(stage: str, number: int, expected: dict[str, bytes], tmp_path: Path) -> None:
    workspace = planted(tmp_path / "my work")
    kill(workspace, stage, number, 0.5)
    assert_as_if_nothing_had_been(workspace, expected)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment(seed: int, expected: dict[str, bytes], tmp_path: Path) -> None:
    workspace = planted(tmp_path / "my work")
    chance = random.Random(seed)
    with start(workspace, chance.choice([REPRO, POOL])) as process:
        time.sleep(chance.uniform(1, 25))
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        process.wait(DEADLINE_S)
        _, stay = psutil.wait_procs(below, timeout=60)
        assert not stay
    assert_as_if_nothing_had_been(workspace, expected)
