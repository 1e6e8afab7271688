"""A version's seeds side by side: the same bytes whatever the number, and only what is missing is run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import trainings
from helpers.pipeline import Workspace

from ganealogy.workspace import run_dir

SEEDS = (0, 1, 2)
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with three seeds of v1, planned, with packed pictures."""
    return with_seeds(trainings.workspace(tmp_path_factory.mktemp("seeds") / "planned"), SEEDS)


def with_seeds(folder: Path, seeds: tuple[int, ...], more: str = "{}", kimg: str = "kimg: 0.096") -> Path:
    from ganealogy.stages import plan

    path = folder / "params.yaml"
    lines = path.read_text().splitlines()
    tree = f"tree: {{versions: [v1], seeds: {list(seeds)}, more_seeds: {more}}}"
    lines = [tree if line.startswith("tree:") else line.replace("kimg: 0.096", kimg) for line in lines]
    path.write_text("\n".join(lines) + "\n")
    plan.write(plan.make(path, trainings.ROOT / "versions"), folder / "build" / "plan")
    return folder


@pytest.fixture
def workspace(planned: Path, tmp_path: Path) -> Path:
    shutil.copytree(planned, tmp_path / "my work")
    return tmp_path / "my work"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(trainings.ROOT / "src"), **more}


def train(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ganealogy", "train", "v1", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)


def results(folder: Path) -> dict[str, bytes]:
    return trainings.result(folder, "v1")


def trained(said: str) -> list[str]:
    """Return the runs that were trained, not taken from the store."""
    return sorted(line.partition(":")[0] for line in said.splitlines() if ": done in " in line)


def test_the_number_at_once_changes_no_byte(workspace: Path, planned: Path, tmp_path: Path) -> None:
    found = []
    for jobs in ("0", "1", "2"):
        folder = tmp_path / f"{jobs} at once"
        shutil.copytree(planned, folder)
        done = train(folder, GANEALOGY_JOBS=jobs)
        assert done.returncode == 0, done.stderr
        found.append(results(folder))
        assert trainings.litter(folder) == []
    assert {name.split("/")[1] for name in found[0]} == {"0", "1", "2"}
    assert found[0] == found[1] == found[2]


def test_only_what_is_missing_is_trained(workspace: Path) -> None:
    assert trained(train(workspace).stderr) == ["v1-0", "v1-1", "v1-2"]
    first = results(workspace)
    assert trained(train(workspace).stderr) == []
    shutil.rmtree(workspace / "build/runs")
    assert trained(train(workspace).stderr) == [] and results(workspace) == first, "taken from the store"
    with_seeds(workspace, (0, 1), "{v1: [5]}")
    assert trained(train(workspace).stderr) == ["v1-5"], "a new seed trains one run"
    assert not run_dir("v1", 2, workspace).folders["train"].exists(), "the plan does not list it"
    with_seeds(workspace, SEEDS, kimg="kimg: 0.128")
    assert trained(train(workspace, "--seeds", "1").stderr) == ["v1-1"], "one by hand"
    with_seeds(workspace, SEEDS, kimg="kimg: 0.096")
    (workspace / "params.yaml").write_text((workspace / "params.yaml").read_text().replace("0.128", "0.096"))
    with_seeds(workspace, SEEDS)
    assert trained(train(workspace).stderr) == [], "changed and changed back"
    assert results(workspace) == first


def test_the_whole_state_of_a_training_is_kept(workspace: Path) -> None:
    train(workspace, "--seeds", "0")
    [state] = (workspace / "build/store/train").glob("*/state")
    names = sorted(path.name for path in state.iterdir())
    assert names == ["000000012.json", "000000012.safetensors"], "the last checkpoint only"
    from safetensors import safe_open

    with safe_open(state / names[1], "np") as tensors:
        kinds = {name.split("/")[0] for name in tensors.keys()}  # noqa: SIM118
    assert {"generator", "discriminator"} <= kinds and any("optimizer" in kind for kind in kinds), kinds


def begin(folder: Path) -> subprocess.Popen[str]:
    """Start a slow training of three seeds, two at a time."""
    command = [sys.executable, "-m", "ganealogy", "train", "v1"]
    slow = environment(GANEALOGY_JOBS="2", GANEALOGY_STEP_SECONDS="0.5")
    return subprocess.Popen(command, cwd=folder, env=slow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def worker_of(folder: Path, seed: int) -> int | None:
    """Return the process that trains a seed."""
    for path in (folder / "build/wip").glob("*/train/run.json"):
        if json.loads(path.read_text())["seed"] == seed:
            return int((path.parents[1] / "holder").read_text())
    return None


def checkpoints(folder: Path) -> int:
    return len({path.parents[1] for path in (folder / "build/wip").glob("*/checkpoints/*.json")})


def test_a_killed_seed_stops_no_other_and_runs_alone_next_time(workspace: Path, tmp_path: Path, planned: Path) -> None:
    with begin(workspace) as process:
        wait_for(lambda: worker_of(workspace, 1) is not None, process)
        worker = worker_of(workspace, 1)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == 2, said
    assert "v1 seed 1: its process was killed by SIGKILL" in said and "build/logs/v1-1.log" in said
    assert "`dvc repro train@v1` runs what failed" in said and "Traceback" not in said
    assert [run_dir("v1", seed, workspace).folders["train"].exists() for seed in SEEDS] == [True, False, True]
    done = train(workspace)
    assert done.returncode == 0 and trained(done.stderr) == ["v1-1"], done.stderr
    whole = tmp_path / "whole"
    shutil.copytree(planned, whole)
    train(whole)
    assert results(workspace) == results(whole)
    assert trainings.litter(workspace) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_stage_goes_on_with_every_seed(
    number: int, code: int, workspace: Path, tmp_path: Path, planned: Path
) -> None:
    with begin(workspace) as process:
        wait_for(lambda: checkpoints(workspace) == 2, process)
        workers = [worker_of(workspace, seed) for seed in (0, 1)]
        process.send_signal(number)
        said, _ = process.communicate()
    assert process.returncode == code, said
    deadline = time.monotonic() + 30
    while any(worker is not None and trainings.alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its stage"
        time.sleep(0.05)
    done = train(workspace)
    assert done.returncode == 0, done.stderr
    costs = [json.loads(run_dir("v1", seed, workspace).costs["train"].read_text()) for seed in SEEDS]
    assert [cost["resumed"] for cost in costs] == [1, 1, 0], "two at a time: the third had not begun"
    whole = tmp_path / "whole"
    shutil.copytree(planned, whole)
    train(whole)
    assert results(workspace) == results(whole)


def test_a_bug_keeps_its_traceback(workspace: Path) -> None:
    """One seed's own data is spoiled so that the code itself fails."""
    broken = workspace / "src"
    shutil.copytree(trainings.ROOT / "src", broken, ignore=shutil.ignore_patterns("__pycache__"))
    loop = broken / "ganealogy/training/loop.py"
    loop.write_text(loop.read_text().replace("    # Set up.", "    assert seed != 1, 'a bug'\n    # Set up."))
    replan = "from ganealogy.stages import plan; plan.write(plan.make())"
    shutil.copytree(trainings.ROOT / "versions", workspace / "versions")
    there = environment(PYTHONPATH=str(broken))
    subprocess.run([sys.executable, "-c", replan], cwd=workspace, env=there, check=True)
    done = train(workspace, PYTHONPATH=str(broken))
    assert done.returncode == 2 and "AssertionError: a bug" in done.stderr and "Traceback" in done.stderr
    assert [run_dir("v1", seed, workspace).folders["train"].exists() for seed in SEEDS] == [True, False, True]


def test_a_limit_that_is_no_number_is_named(workspace: Path) -> None:
    done = train(workspace, GANEALOGY_JOBS="many")
    assert done.returncode == 2 and "GANEALOGY_JOBS = 'many'" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("seeds", ["x", "1-", "3-1", "", "0,,1"])
def test_seeds_that_are_no_seeds_are_refused(seeds: str, workspace: Path) -> None:
    done = Workspace(workspace).ganealogy("train", "v1", "--seeds", seeds, PYTHONPATH=str(trainings.ROOT / "src"))
    assert done.returncode == 2 and "give seeds such as 0, 0,2,5 or 0-4" in " ".join(done.stdout.split())
