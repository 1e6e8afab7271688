"""`ganealogy repro` on a real two-node Ray cluster: each node has its own folder, results pass through the DVC remote.

One scenario for all tests: the driver is killed, a second driver continues, a node is killed, and the results equal
those of `dvc repro`. Then a version fails.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.pipeline import Workspace, fresh, ran
from ruamel.yaml import YAML

from ganealogy.stages._training_progress import STEP_SECONDS

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(3600)  # the fixture takes minutes

RUNS = ("v1-0", "v3-0")
WAIT_S = 1500.0
STEP_S = "1.5"
"""Sleep per training step: long enough to suspend a training between its checkpoint and its end."""
NO_TELEMETRY = {"RAY_USAGE_STATS_ENABLED": "0"}


@dataclass
class Scenario:
    sequential: Workspace
    """After `dvc repro`."""
    shared: Workspace
    """After two calls of `ganealogy repro`."""
    remote: Path
    nodes: list[Path]
    """Each node's folder."""
    address: str
    output: str
    """Of the second driver."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[Any], list[Path]]]:
    """A head without CPUs and two nodes with one CPU each."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # No dashboard agent: on a busy machine it starts slowly, and a node waits only 15 s for it.
    patch.setattr("ray._private.utils.get_dashboard_dependency_error", lambda: ImportError("switched off"))
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000}
    folders = [tmp_path_factory.mktemp(f"node{number}") for number in range(2)]
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    cluster = retry_timeouts(lambda: Cluster(initialize_head=True, head_node_args=head))

    def node(folder: Path) -> Any:
        variables = {"GANEALOGY_SCRATCH": str(folder), STEP_SECONDS: STEP_S}
        return retry_timeouts(lambda: cluster.add_node(num_cpus=1, env_vars=variables, **small))

    try:
        yield cluster, [node(folder) for folder in folders], folders
    finally:
        cluster.shutdown()
        patch.undo()


def retry_timeouts(start: Callable[[], Any]) -> Any:
    """Ray's processes have 30 s to start, which is too short on a busy machine."""
    for attempt in range(6):
        try:
            return start()
        except Exception as error:
            if attempt == 5 or "timed out during startup" not in str(error):
                raise
    return None


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory, cluster: tuple[Any, list[Any], list[Path]]) -> Scenario:
    cluster_, nodes, folders = cluster
    sequential = fresh(tmp_path_factory.mktemp("sequential") / "with spaces")
    sequential.edit("params.yaml", "kimg: 0.064", "kimg: 0.192")  # 24 steps
    sequential.edit("params.yaml", "ticks: 2", "ticks: 6")  # a checkpoint every 4 steps
    sequential.dvc("repro", "reference")
    remote = tmp_path_factory.mktemp("remote") / "store"
    shared = Workspace(tmp_path_factory.mktemp("shared") / "work")
    shutil.copytree(sequential.path, shared.path, symlinks=True)
    shared.dvc("remote", "add", "--local", "-d", "store", str(remote))
    scenario = Scenario(sequential, shared, remote, folders, cluster_.address, "")

    first = drive(scenario)
    suspended = suspend_after_next_checkpoint(scenario, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert first.stdout is not None
    first.stdout.close()
    resume(suspended)  # they get SIGTERM when Ray has killed their parents
    wait(None, lambda: not any(processes_in(folder) for folder in folders))

    second = drive(scenario)
    suspended = suspend_after_next_checkpoint(scenario, second)
    kill_node(nodes[0], folders[0])
    resume(suspended)
    sequential.dvc("repro")  # meanwhile
    scenario.output, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 0, scenario.output
    return scenario


def suspend_after_next_checkpoint(scenario: Scenario, driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Suspend the training of each run when a new checkpoint of it is on the remote, and return their processes."""
    before = checkpoints(scenario)
    suspended: dict[str, list[psutil.Process]] = {}

    def all_suspended() -> bool:
        now = checkpoints(scenario)
        for run, key in keys(scenario).items():
            if run not in suspended and now.get(key, "") > before.get(key, ""):
                suspended[run] = [process for folder in scenario.nodes for process in trainings(folder, run)]
                for process in suspended[run]:
                    process.suspend()
                assert suspended[run], f"{run} ended before it could be suspended"
        return len(suspended) == len(RUNS)

    wait(driver, all_suspended)
    return [process for processes in suspended.values() for process in processes]


def resume(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.resume()
        except psutil.NoSuchProcess:
            continue


def drive(scenario: Scenario, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ganealogy", "repro", "--address", scenario.address, *more],
        cwd=scenario.shared.path,
        env=scenario.shared.environment(**NO_TELEMETRY),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait(driver: subprocess.Popen[str] | None, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        if driver is not None and driver.poll() is not None:
            pytest.fail(f"the driver ended with {driver.returncode}:\n{driver.communicate()[0]}")
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def keys(scenario: Scenario) -> dict[str, str]:
    """Run → name of its checkpoints' folder on the remote."""
    from ganealogy.files import atomic

    names = {}
    for run in RUNS:
        plan = scenario.shared.path / "build/plan/versions" / f"{run.split('-')[0]}.json"
        data = json.loads((scenario.shared.path / "data/packed/manifest.json").read_text())["dataset"]
        names[run] = atomic.digest([json.loads(plan.read_text())["fingerprint"], data, 0])[:20]
    return names


def checkpoints(scenario: Scenario) -> dict[str, str]:
    """Run key → name of its newest checkpoint on the remote."""
    newest: dict[str, str] = {}
    for path in (scenario.remote / "wip").glob("*/checkpoints/*.json"):
        key = path.parent.parent.name
        newest[key] = max(newest.get(key, ""), path.stem)
    return newest


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes whose working directory is in `folder`."""
    processes = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes


def trainings(folder: Path, run: str) -> list[psutil.Process]:
    """Processes in a node's folder that train `run`; the working directory is <project>/<run>-<random>."""
    processes = []
    for process in processes_in(folder):
        try:
            if "train" in process.cmdline() and Path(process.cwd()).name.startswith(f"{run}-"):
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes


def kill_node(node: Any, folder: Path) -> None:
    """Kill all processes of a node at once, as a power failure does: its Ray, the workers and their children."""
    raylet = node.all_processes["raylet"][0].process
    jobs = processes_in(folder)
    assert any("train" in process.cmdline() for process in jobs), "no training on this node"
    for victim in [*psutil.Process(raylet.pid).children(recursive=True), *jobs, psutil.Process(raylet.pid)]:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue


def run_files(workspace: Workspace) -> dict[str, bytes]:
    """The files of all runs, without measured times."""
    root = workspace.path / "build" / "runs"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.parent.name != "cost"}


def locked(workspace: Workspace) -> dict[str, Any]:
    """The stages of dvc.lock, without the hashes of files that contain measured times."""
    stages: dict[str, Any] = YAML(typ="safe").load(workspace.path / "dvc.lock")["stages"]
    for name, stage in stages.items():
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
            if "cost" in entry["path"] or name == "report":
                for key in ("md5", "size", "nfiles"):
                    entry.pop(key, None)
    return stages


def test_outputs_are_the_bytes_of_a_sequential_repro(scenario: Scenario) -> None:
    files, expected = run_files(scenario.shared), run_files(scenario.sequential)
    assert files.keys() == expected.keys() and len(files) > 30
    assert [name for name in files if files[name] != expected[name]] == []


def test_dvc_lock_is_that_of_a_sequential_repro_and_up_to_date(scenario: Scenario) -> None:
    assert locked(scenario.shared) == locked(scenario.sequential)
    assert "up to date" in scenario.shared.dvc("status")
    assert ran(scenario.shared.dvc("repro")) == []


def test_the_driver_ran_only_the_report(scenario: Scenario) -> None:
    stages = [stage for stage in ran(scenario.output) if "@" in stage]
    assert stages == [], "a run's stage ran in the driver's workspace"
    numbers = json.loads((scenario.shared.path / "reports" / "metrics.json").read_text())
    assert set(numbers) == {"v1", "v3"}


def test_trainings_resumed_from_their_checkpoints(scenario: Scenario) -> None:
    """Both resumed after the driver's death, and one again after its node's death."""
    costs = [json.loads((scenario.shared.path / f"build/runs/{run}/cost/train.json").read_text()) for run in RUNS]
    assert sorted(cost["resumed"] for cost in costs) == [1, 2]
    assert "restarted on" in scenario.output
    assert not list((scenario.remote / "wip").rglob("*.json")), "finished trainings left checkpoints on the remote"


def test_a_node_keeps_its_cache_but_no_clone(scenario: Scenario) -> None:
    """The node that was not killed."""
    (project,) = scenario.nodes[1].iterdir()
    assert sorted(path.name for path in project.iterdir()) == ["cache", "fetch.lock"]
    assert scenario.shared.path not in project.parents


def test_a_node_with_other_versions_is_refused(scenario: Scenario) -> None:
    from ganealogy.cluster import ray_cluster
    from ganealogy.errors import GanealogyError

    def describe() -> dict[str, str]:
        return {"node": "elsewhere", "python": "3.0.0", "torch": "1.0", "dvc": "3"}

    with (
        ray_cluster.connected(scenario.address) as ray,
        pytest.raises(GanealogyError, match=r"node elsewhere .* has python 3\.0\.0, this machine"),
    ):
        ray_cluster.check_versions(ray, describe)


def test_a_failed_version_is_reported_and_does_not_stop_the_others(scenario: Scenario) -> None:
    """Only v6 uses RMSprop, which an uncommitted edit breaks."""
    rmsprop = "src/ganealogy/adversary/optimizers/rmsprop.py"
    source = (scenario.shared.path / rmsprop).read_text()
    scenario.shared.edit("params.yaml", "[v1, v3]", "[v1, v6, v3]")
    scenario.shared.edit(rmsprop, "(parameters, lr,", "(parameters, missing_name,")
    driver = drive(scenario)
    output, _ = driver.communicate(timeout=WAIT_S)
    assert driver.returncode == 2, output
    last = output.strip().splitlines()[-1]
    assert last.startswith("ganealogy: 1 of 3 runs failed: v6-0: ") and "missing_name" in last
    assert "1 run, 1 at a time" in output
    assert "uncommitted changes in 2 files are included" in output  # params.yaml and rmsprop.py
    assert "missing_name" in (scenario.shared.path / "build/cluster/v6-0.log").read_text()
    page = (scenario.shared.path / "reports" / "index.html").read_text()
    assert "One-sided label smoothing" in page
    assert set(json.loads((scenario.shared.path / "reports" / "metrics.json").read_text())) >= {"v1", "v3"}
    (scenario.shared.path / rmsprop).write_text(source)


def test_two_ranks_train_and_evaluate_a_run(scenario: Scenario) -> None:
    """`--ranks 2` on a run of the sequential workspace. The distance is the same.

    The untrained generator is the same, too. Later ticks are only similar: each rank draws its own random numbers.
    At equal draws losses are equal: training/test_distributed.py.
    """
    run = scenario.sequential.path / "build" / "runs" / "v3-0"

    def ticks() -> list[dict[str, float]]:
        return [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text().splitlines()]

    def distance() -> float:
        value: float = json.loads((run / "evaluate" / "metrics.json").read_text())["metrics"]["fd_pixel8"]
        return value

    before, fd = ticks(), distance()
    (run / "evaluate" / "metrics.json").unlink()
    done = scenario.sequential.ganealogy("evaluate", "v3", "0", "--ranks", "2")
    assert done.returncode == 0, done.stdout
    assert distance() == pytest.approx(fd, rel=1e-6)
    (run / "train" / "metrics.jsonl").unlink()
    done = scenario.sequential.ganealogy("train", "v3", "0", "--ranks", "2")
    assert done.returncode == 0, done.stdout
    after = ticks()
    assert [tick["step"] for tick in after] == [tick["step"] for tick in before]
    assert after[0]["fd_pixel8"] == pytest.approx(before[0]["fd_pixel8"], rel=1e-6)
    for name in ("d_loss", "g_loss", "fd_pixel8"):
        assert [tick[name] for tick in after[1:]] == pytest.approx([tick[name] for tick in before[1:]], rel=0.25)
