"""What is wrong with the input is said in one line, soon, and before anything runs."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh

from ganealogy.cluster import dvc_remote, ray_cluster, workspace_commit
from ganealogy.errors import GanealogyError

ONE = [{"CPU": 8.0, "GPU": 0.0}]
GPUS = [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 0.0}]


def test_as_many_jobs_as_there_is_room_for() -> None:
    assert ray_cluster.room(ONE, None, 2, None) == ray_cluster.Room(4, 2, 0)
    assert ray_cluster.room(ONE, 3, 2, None) == ray_cluster.Room(3, 2, 0)
    assert ray_cluster.room(GPUS, None, 2, None) == ray_cluster.Room(8, 2, 1)
    assert ray_cluster.room(GPUS, None, 2, 4) == ray_cluster.Room(2, 2, 4)


def test_threads_make_room_for_the_jobs_asked_for() -> None:
    assert ray_cluster.room(ONE, 8, 2, None) == ray_cluster.Room(8, 1, 0)
    assert ray_cluster.room([{"CPU": 2.0}], None, 4, None) == ray_cluster.Room(1, 2, 0)


@pytest.mark.parametrize(
    ("nodes", "jobs", "gpus", "said"),
    [
        (ONE, 9, None, "--jobs 9: there are 8 CPUs and 0 GPUs on 1 node: --jobs 8 at most"),
        (GPUS, 3, 4, "--jobs 3: there are 20 CPUs and 8 GPUs on 2 nodes, 4 GPUs a run: --jobs 2 at most"),
        (ONE, None, 1, "there are 8 CPUs and 0 GPUs on 1 node, 1 GPU a run: fewer --gpus-per-run"),
    ],
)
def test_more_than_there_is(nodes: list[dict[str, float]], jobs: int | None, gpus: int | None, said: str) -> None:
    with pytest.raises(GanealogyError) as caught:
        ray_cluster.room(nodes, jobs, 2, gpus)
    assert said in str(caught.value)


def test_nobody_at_the_address() -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with (
        pytest.raises(GanealogyError, match=f"--address {address}: nobody answers there"),
        ray_cluster.connected(address),
    ):
        pass
    assert time.monotonic() - began < 15


def test_without_ray_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GanealogyError, match=r"needs Ray: pip install 'ganealogy\[cluster\]'"):
        ray_cluster.ray_module()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fresh(tmp_path_factory.mktemp("a path") / "with spaces")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jobs", "9999"], "ganealogy: --jobs 9999: there are "),
        (["--gpus-per-run", "9999", "--no-dashboard"], "9999 GPUs a run: fewer --gpus-per-run"),
        (["--address", "127.0.0.1:1"], "ganealogy: --address 127.0.0.1:1: nobody answers there"),
    ],
)
def test_refused_before_anything_runs(workspace: Workspace, tmp_path: Path, arguments: list[str], said: str) -> None:
    pytest.importorskip("ray")
    if "--address" in arguments:
        workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(tmp_path / "store"))
    done = workspace.ganealogy("repro", *arguments)
    assert done.returncode == 2 and said in done.stdout and done.stdout.count("\n") == 1, done.stdout
    assert not (workspace.path / "build").exists() and not (workspace.path / "dvc.lock").exists(), "nothing has run"


def test_a_remote_that_cannot_be_written(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(tmp_path / "file" / "store"))
    with pytest.raises(GanealogyError, match=r"DVC remote store \(.*\): cannot be written") as caught:
        dvc_remote.find(workspace.path, alone=False)
    assert "\n" not in str(caught.value)
    assert not (workspace.path / "build").exists(), "nothing has run"


def test_a_remote_travels_with_its_settings(workspace: Workspace, tmp_path: Path) -> None:
    """An odd path, relative in the workspace, is absolute in a clone; DVC there reads it back."""
    place = tmp_path / "sto, re #1"
    workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(place))
    found = dvc_remote.find(workspace.path, alone=False)
    clone = fresh(tmp_path / "clone")
    (clone.path / ".dvc" / "config.local").write_text(
        found.config.replace(dvc_remote.NODE_CACHE, str(tmp_path / "cache, node 1"))
    )
    assert str(place) in clone.dvc("remote", "list")
    assert clone.dvc("cache", "dir").strip() == str(tmp_path / "cache, node 1")


def test_a_cluster_without_a_remote(tmp_path: Path) -> None:
    bare = fresh(tmp_path / "bare")
    with pytest.raises(GanealogyError, match="dvc remote add -d store ADDRESS"):
        dvc_remote.find(bare.path, alone=False)
    alone = dvc_remote.find(bare.path, alone=True)
    assert alone.name is None and alone.cache == str(bare.path / ".dvc" / "cache")


def test_uncommitted_and_new_files_go_along_and_nothing_is_touched(tmp_path: Path) -> None:
    workspace = fresh(tmp_path / "mine")
    workspace.edit("params.yaml", "count: 120", "count: 121")
    workspace.run("git", "add", "params.yaml")
    workspace.edit("params.yaml", "count: 121", "count: 122")
    (workspace.path / "versions" / "v99.yaml").write_text("title: new\n")
    (workspace.path / "my-pictures").mkdir()
    (workspace.path / "my-pictures" / "huge.png").write_bytes(b"not for git")
    before = workspace.run("git", "status", "--porcelain=v2", "--branch").stdout
    taken = workspace_commit.take(workspace.path)
    assert taken.uncommitted == 2
    assert workspace.run("git", "status", "--porcelain=v2", "--branch").stdout == before
    bundle = tmp_path / "bundle"
    bundle.write_bytes(workspace_commit.bundle(workspace.path))
    clone = Workspace(tmp_path / "clone")
    clone.path.mkdir()
    clone.run("git", "init", "-q")
    clone.run("git", "fetch", "-q", str(bundle), workspace_commit.REF)
    clone.run("git", "checkout", "-q", "FETCH_HEAD")
    assert "count: 122" in (clone.path / "params.yaml").read_text()
    assert (clone.path / "versions" / "v99.yaml").exists() and not (clone.path / "my-pictures").exists()
    assert clone.run("git", "rev-list", "--count", "HEAD").stdout.strip() == "1", "no history is shipped"
    assert workspace_commit.take(workspace.path).tree == taken.tree
    workspace.edit("params.yaml", "count: 122", "count: 123")
    assert workspace_commit.take(workspace.path).tree != taken.tree


def test_a_folder_that_git_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="not the top of a git repository"):
        workspace_commit.take(tmp_path)
