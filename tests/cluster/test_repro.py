"""`ganealogy repro --address` on a real two-node Ray cluster: each node has its own folder, and a DVC remote.

One scenario for all tests: the driver is killed, a second driver continues, a node is killed, and the results equal
those of `dvc repro`. Then a version fails, and a driver without a remote is stopped by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
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
    for path in (scenario.remote / "ganealogy" / "wip").glob("*/checkpoints/*.json"):
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
    """The workers of `run` in a node's folder: forks of a fork server. Their folder is <project>/<run>-<random>."""
    processes = []
    for process in processes_in(folder):
        try:
            lines = [" ".join(each.cmdline()) for each in (process, process.parent()) if each]
            if all("forkserver" in line for line in lines) and Path(process.cwd()).name.startswith(f"{run}-"):
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes


def kill_node(node: Any, folder: Path) -> None:
    """Kill all processes of a node at once, as a power failure does: its Ray, the workers and their children."""
    raylet = node.all_processes["raylet"][0].process
    jobs = processes_in(folder)
    assert any(trainings(folder, run) for run in RUNS), "no training on this node"
    for victim in [*psutil.Process(raylet.pid).children(recursive=True), *jobs, psutil.Process(raylet.pid)]:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue


def run_files(workspace: Workspace) -> dict[str, bytes]:
    """The files of all runs, without measured times."""
    root = workspace.path / "build" / "runs"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files if "cost" not in path.parts}


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
    assert ran(scenario.shared.dvc("repro")) == ["inputs"], "it runs always"


def test_nothing_was_trained_in_the_drivers_workspace(scenario: Scenario) -> None:
    """DVC ran its stages there, and they took all results from the store."""
    assert not list((scenario.shared.path / "build").glob("wip/*"))
    assert {stage for stage in ran(scenario.output) if "@" in stage} == {
        f"{stage}@{version}" for stage in ("train", "sample", "evaluate") for version in ("v1", "v3")
    }
    numbers = json.loads((scenario.shared.path / "reports" / "all-metrics.json").read_text())
    assert set(numbers) == {"v1", "v3"}


def test_trainings_resumed_from_their_checkpoints(scenario: Scenario) -> None:
    """Both resumed after the driver's death, and one again after its node's death."""
    costs = [
        json.loads((scenario.shared.path / f"build/runs/{version}/cost/train/0.json").read_text())
        for version in ("v1", "v3")
    ]
    assert sorted(cost["resumed"] for cost in costs) == [1, 2]
    restarted = [run for run in RUNS if f"{run}: restarted on " in scenario.output]
    assert len(restarted) == 1, scenario.output
    assert "restarted on " in (scenario.shared.path / "build" / "logs" / f"{restarted[0]}.log").read_text()
    assert not list((scenario.remote / "ganealogy" / "wip").rglob("*")), "finished trainings left checkpoints"


def test_a_node_keeps_the_inputs_but_no_workspace(scenario: Scenario) -> None:
    """The node that was not killed."""
    (project,) = scenario.nodes[1].iterdir()
    assert [path.name for path in project.iterdir()] == ["inputs"]
    assert len([path for path in (project / "inputs").iterdir() if path.is_dir()]) == 2
    assert scenario.shared.path not in project.parents


def test_another_workspace_takes_all_runs_from_the_remote(scenario: Scenario, tmp_path: Path) -> None:
    """One whose store is empty, such as a colleague's; one entry on the remote is damaged and made again."""
    other = Workspace(tmp_path / "other")
    shutil.copytree(scenario.shared.path, other.path, symlinks=True)
    for folder in ("build/store", "build/runs", ".dvc/cache/runs"):
        shutil.rmtree(other.path / folder)
    (other.path / "dvc.lock").unlink()
    entries = sorted((scenario.remote / "ganealogy" / "store" / "evaluate").glob("*/out/metrics.json"))
    before = [path.read_bytes() for path in entries]
    entries[0].write_text("{}")
    done = other.ganealogy("repro", "--address", scenario.address, **NO_TELEMETRY)
    assert done.returncode == 0 and "1 run, 1 at a time" in done.stdout, done.stdout
    assert run_files(other) == run_files(scenario.sequential)
    assert [path.read_bytes() for path in entries] == before
    assert not list((other.path / "build" / "store").rglob("*.pull"))


def test_a_node_with_other_versions_is_refused(scenario: Scenario) -> None:
    from ganealogy.cluster import ray_cluster
    from ganealogy.errors import GanealogyError

    def describe(marker: str) -> dict[str, str]:
        return {"node": "elsewhere", "python": "3.0.0", "torch": "1.0", "sees": ""}

    with (
        ray_cluster.connected(scenario.address) as ray,
        pytest.raises(GanealogyError, match=r"node elsewhere .* has python 3\.0\.0, this machine"),
    ):
        ray_cluster.check_nodes(ray, describe, scenario.shared.path)


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
    assert last.startswith("ganealogy: v6 seed 0: ") and "missing_name" in last and "build/logs/v6-0.log" in last
    assert "1 run, 1 at a time" in output
    assert "missing_name" in (scenario.shared.path / "build/logs/v6-0.log").read_text()
    page = (scenario.shared.path / "reports" / "index.html").read_text()
    assert "One-sided label smoothing" in page
    assert set(json.loads((scenario.shared.path / "reports" / "all-metrics.json").read_text())) >= {"v1", "v3"}
    (scenario.shared.path / rmsprop).write_text(source)


def test_ctrl_c_leaves_a_checkpoint_and_no_process(scenario: Scenario, tmp_path: Path) -> None:
    """Without a remote: the nodes see the workspace, so they use its store and its unfinished trainings."""
    workspace = Workspace(tmp_path / "with spaces")
    shutil.copytree(scenario.sequential.path, workspace.path, symlinks=True)
    workspace.edit("params.yaml", "[v1, v3]", "[v8]")
    workspace.edit("params.yaml", "kimg: 0.192", "kimg: 0.096")
    workspace.edit("params.yaml", "ticks: 6", "ticks: 3")
    own = dataclasses.replace(scenario, shared=workspace)
    driver = drive(own)
    wait(driver, lambda: any((workspace.path / "build").glob("wip/*/checkpoints/*.json")))
    at_work = [process for folder in scenario.nodes for process in processes_in(folder)]
    assert at_work
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=WAIT_S)
    assert driver.returncode == 130 and "Traceback" not in output, output
    assert output.splitlines()[-1] == "ganealogy: stopped; the next `ganealogy repro` continues from here"
    assert psutil.wait_procs(at_work, timeout=30)[1] == []
    assert "train@v8" not in (workspace.path / "dvc.lock").read_text()

    again = drive(own)
    output, _ = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, output
    cost = json.loads((workspace.path / "build/runs/v8/cost/train/0.json").read_text())
    assert cost["resumed"] == 1 and not list((workspace.path / "build").glob("wip/*"))
    assert set(json.loads((workspace.path / "reports" / "all-metrics.json").read_text())) == {"v8"}
