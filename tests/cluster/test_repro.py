"""`ganealogy repro` on a real two-node Ray cluster: each node with its own folder, results through the DVC remote only.

One story, told once: a driver is killed, the next goes on, a node is killed under it, and what it ends with is what
`dvc repro` makes alone. Then a version that fails.
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

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(3600)  # the first test tells the whole story: two minutes on a quiet machine

RUNS = ("v1-0", "v3-0")
WAIT_S = 1500.0
GATES = (9, 17)
"""Steps before which the trainings of this story wait: to be killed in the middle, on any machine."""
NO_REPORTS_HOME = {"RAY_USAGE_STATS_ENABLED": "0"}


@dataclass
class Story:
    alone: Workspace
    """After `dvc repro`."""
    shared: Workspace
    """After `ganealogy repro`, twice begun."""
    remote: Path
    nodes: list[Path]
    """Each node's folder."""
    address: str
    output: str
    """Of the driver that came to the end."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[Any], list[Path]]]:
    """A head without processors and two nodes with one each."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # As where Ray is installed without its dashboard: its agent takes many seconds to start on a busy machine, and
    # a node gives up after 15.
    patch.setattr("ray._private.utils.get_dashboard_dependency_error", lambda: ImportError("not wanted here"))
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000}
    folders = [tmp_path_factory.mktemp(f"node{number}") for number in range(2)]
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))

    def node(folder: Path) -> Any:
        return patiently(lambda: cluster.add_node(num_cpus=1, env_vars={"GANEALOGY_SCRATCH": str(folder)}, **small))

    try:
        yield cluster, [node(folder) for folder in folders], folders
    finally:
        cluster.shutdown()
        patch.undo()


def patiently(start: Callable[[], Any]) -> Any:
    """Ray gives a process of its own 30 s to start, which a machine at its limits may miss."""
    for attempt in range(6):
        try:
            return start()
        except Exception as error:
            if attempt == 5 or "timed out during startup" not in str(error):
                raise
    return None


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, cluster: tuple[Any, list[Any], list[Path]]) -> Story:
    cluster_, nodes, folders = cluster
    alone = fresh(tmp_path_factory.mktemp("alone") / "with spaces")
    alone.edit("params.yaml", "kimg: 0.064", "kimg: 0.192")  # 24 steps
    alone.edit("params.yaml", "ticks: 2", "ticks: 6")  # a checkpoint every 4
    gates = tmp_path_factory.mktemp("gates")
    alone.edit(
        "src/ganealogy/training/loop.py",
        "            with ranks.drawing(batch_size):",
        f"            gate = Path({str(gates)!r}) / str(step)\n"
        f"            while step in {GATES} and not gate.exists() and not interrupted():\n"
        "                time.sleep(0.05)\n"
        "            with ranks.drawing(batch_size):",
    )
    alone.dvc("repro", "reference")
    remote = tmp_path_factory.mktemp("remote") / "store"
    shared = Workspace(tmp_path_factory.mktemp("shared") / "work")
    shutil.copytree(alone.path, shared.path, symlinks=True)
    shared.dvc("remote", "add", "--local", "-d", "store", str(remote))
    story = Story(alone, shared, remote, folders, cluster_.address, "")

    first = drive(story)
    wait(first, lambda: checkpoints(story) == dict.fromkeys(keys(story), "000000008"))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert first.stdout is not None
    first.stdout.close()
    wait(None, lambda: not any(trainers(folder) for folder in folders))
    (gates / str(GATES[0])).touch()

    second = drive(story)
    wait(second, lambda: checkpoints(story) == dict.fromkeys(keys(story), "000000016"))
    kill_node(nodes[0], folders[0])
    (gates / str(GATES[1])).touch()
    alone.dvc("repro")  # meanwhile
    story.output, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 0, story.output
    return story


def drive(story: Story, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ganealogy", "repro", "--address", story.address, *more],
        cwd=story.shared.path,
        env=story.shared.environment(**NO_REPORTS_HOME),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait(driver: subprocess.Popen[str] | None, reached: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not reached():
        if driver is not None and driver.poll() is not None:
            pytest.fail(f"the driver ended with {driver.returncode}:\n{driver.communicate()[0]}")
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def keys(story: Story) -> list[str]:
    """The folders of the runs' checkpoints on the remote."""
    from ganealogy.files import atomic

    data = json.loads((story.shared.path / "data/packed/manifest.json").read_text())["dataset"]
    plans = (story.shared.path / "build/plan/versions" / f"{run.split('-')[0]}.json" for run in RUNS)
    return [atomic.digest([json.loads(plan.read_text())["fingerprint"], data, 0])[:20] for plan in plans]


def checkpoints(story: Story) -> dict[str, str]:
    """Run key → its newest checkpoint's name on the remote."""
    found: dict[str, str] = {}
    for path in (story.remote / "wip").glob("*/checkpoints/*.json"):
        key = path.parent.parent.name
        found[key] = max(found.get(key, ""), path.stem)
    return found


def trainers(folder: Path) -> list[psutil.Process]:
    """Processes at work in a node's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def kill_node(node: Any, folder: Path) -> None:
    """As when the power goes: the node's Ray, its workers and what they started, without a word."""
    raylet = node.all_processes["raylet"][0].process
    victims = [*psutil.Process(raylet.pid).children(recursive=True), *trainers(folder), psutil.Process(raylet.pid)]
    at_work = [victim for victim in victims if victim in trainers(folder)]
    assert any("train" in victim.cmdline() for victim in at_work), "it was in the middle of a training"
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue


def run_files(workspace: Workspace) -> dict[str, bytes]:
    """All that the runs left, clocks aside."""
    root = workspace.path / "build" / "runs"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.parent.name != "cost"}


def locked(workspace: Workspace) -> dict[str, Any]:
    """dvc.lock, without the hashes of clocks and of what shows them."""
    stages: dict[str, Any] = YAML(typ="safe").load(workspace.path / "dvc.lock")["stages"]
    for name, stage in stages.items():
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
            if "cost" in entry["path"] or name == "report":
                for key in ("md5", "size", "nfiles"):
                    entry.pop(key, None)
    return stages


def test_outputs_are_the_bytes_of_a_sequential_repro(story: Story) -> None:
    found, expected = run_files(story.shared), run_files(story.alone)
    assert found.keys() == expected.keys() and len(found) > 30
    assert [name for name in found if found[name] != expected[name]] == []


def test_the_lock_is_the_same_and_nothing_is_left_to_do(story: Story) -> None:
    assert locked(story.shared) == locked(story.alone)
    assert "up to date" in story.shared.dvc("status")
    assert ran(story.shared.dvc("repro")) == []


def test_the_driver_ran_the_report_only(story: Story) -> None:
    here = [stage for stage in ran(story.output) if "@" in stage]
    assert here == [], "no training of the cluster's ran in the driver's workspace"
    numbers = json.loads((story.shared.path / "reports" / "metrics.json").read_text())
    assert set(numbers) == {"v1", "v3"}


def test_trainings_went_on_from_their_checkpoints(story: Story) -> None:
    """Each was taken up after the driver's death; the one whose node died once more."""
    costs = [json.loads((story.shared.path / f"build/runs/{run}/cost/train.json").read_text()) for run in RUNS]
    assert sorted(cost["resumed"] for cost in costs) == [1, 2]
    assert "begun again" in story.output
    assert not list((story.remote / "wip").rglob("*.json")), "what is finished leaves no work in progress behind"


def test_nodes_keep_their_cache_and_no_clone(story: Story) -> None:
    """The packed data came once, through the remote; the node that lived has cleaned up behind its runs."""
    (project,) = story.nodes[1].iterdir()
    assert sorted(path.name for path in project.iterdir()) == ["cache", "fetch.lock"]
    assert story.shared.path not in project.parents


def test_another_torch_is_named_and_refused(story: Story) -> None:
    from ganealogy.cluster import ray_cluster
    from ganealogy.errors import GanealogyError

    def describe() -> dict[str, str]:
        return {"node": "elsewhere", "python": "3.0.0", "torch": "1.0", "dvc": "3"}

    with (
        ray_cluster.connected(story.address) as joined,
        pytest.raises(GanealogyError, match=r"node elsewhere .* has python 3\.0\.0, this machine"),
    ):
        ray_cluster.agree(joined, describe)


def test_a_version_that_fails_stops_nobody_and_is_told(story: Story) -> None:
    """v6 alone has RMSprop; its training breaks. Its edit is uncommitted and goes along."""
    rmsprop = "src/ganealogy/adversary/optimizers/rmsprop.py"
    source = (story.shared.path / rmsprop).read_text()
    story.shared.edit("params.yaml", "[v1, v3]", "[v1, v6, v3]")
    story.shared.edit(rmsprop, "(parameters, lr,", "(parameters, nobody,")
    driver = drive(story)
    output, _ = driver.communicate(timeout=WAIT_S)
    assert driver.returncode == 2, output
    last = output.strip().splitlines()[-1]
    assert last.startswith("ganealogy: 1 of 3 runs failed: v6-0: ") and "nobody" in last
    assert "1 run, 1 at a time" in output
    assert "uncommitted changes in 3 files go along" in output  # params.yaml, this edit, and the gates
    assert "nobody" in (story.shared.path / "build/cluster/v6-0.log").read_text()
    page = (story.shared.path / "reports" / "index.html").read_text()
    assert "One-sided label smoothing" in page
    assert set(json.loads((story.shared.path / "reports" / "metrics.json").read_text())) >= {"v1", "v3"}
    (story.shared.path / rmsprop).write_text(source)


def test_two_ranks_by_the_command_line(story: Story) -> None:
    """The same run again, in the workspace that trained alone: `--ranks 2` for the training and for its distance."""
    run = story.alone.path / "build" / "runs" / "v3-0"

    def figures() -> list[float]:
        lines = (run / "train" / "metrics.jsonl").read_text().splitlines()
        return [line[name] for line in map(json.loads, lines[1:]) for name in ("d_loss", "g_loss", "fd_pixel8")]

    def distance() -> float:
        value: float = json.loads((run / "evaluate" / "metrics.json").read_text())["metrics"]["fd_pixel8"]
        return value

    losses, fd = figures(), distance()
    (run / "evaluate" / "metrics.json").unlink()
    done = story.alone.ganealogy("evaluate", "v3", "0", "--ranks", "2")
    assert done.returncode == 0, done.stdout
    assert distance() == pytest.approx(fd, rel=1e-6)
    (run / "train" / "metrics.jsonl").unlink()
    done = story.alone.ganealogy("train", "v3", "0", "--ranks", "2")
    assert done.returncode == 0, done.stdout
    assert figures() == pytest.approx(losses, rel=1e-3)  # 24 steps apart; step by step: training/test_ranks.py
