"""Wrong arguments and remotes: one line of error within seconds, before any stage runs."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh

from ganealogy.cluster import dvc_remote, ray_cluster, workspace_commit
from ganealogy.errors import GanealogyError

ONE = [{"CPU": 8.0, "GPU": 0.0}]
GPUS = [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 0.0}]


def test_by_default_as_many_jobs_run_as_fit() -> None:
    assert ray_cluster.allocate(ONE, None, 2, None) == ray_cluster.Allocation(4, 2, 0)
    assert ray_cluster.allocate(ONE, 3, 2, None) == ray_cluster.Allocation(3, 2, 0)
    assert ray_cluster.allocate(GPUS, None, 2, None) == ray_cluster.Allocation(8, 2, 1)
    assert ray_cluster.allocate(GPUS, None, 2, 4) == ray_cluster.Allocation(2, 2, 4)


def test_threads_per_job_are_reduced_to_fit_the_requested_jobs() -> None:
    assert ray_cluster.allocate(ONE, 8, 2, None) == ray_cluster.Allocation(8, 1, 0)
    assert ray_cluster.allocate([{"CPU": 2.0}], None, 4, None) == ray_cluster.Allocation(1, 2, 0)


@pytest.mark.parametrize(
    ("nodes", "jobs", "gpus", "message"),
    [
        (ONE, 9, None, "--jobs 9: there are 8 CPUs and 0 GPUs on 1 node: --jobs 8 at most"),
        (GPUS, 3, 4, "--jobs 3: there are 20 CPUs and 8 GPUs on 2 nodes, 4 GPUs per run: --jobs 2 at most"),
        (ONE, None, 1, "there are 8 CPUs and 0 GPUs on 1 node, 1 GPU per run: fewer --gpus-per-run"),
    ],
)
def test_too_many_jobs_are_refused(
    nodes: list[dict[str, float]], jobs: int | None, gpus: int | None, message: str
) -> None:
    with pytest.raises(GanealogyError) as caught:
        ray_cluster.allocate(nodes, jobs, 2, gpus)
    assert message in str(caught.value)


@pytest.mark.timeout(60)  # Ray itself would wait for minutes
def test_an_address_without_a_cluster_is_refused() -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        pytest.raises(GanealogyError, match=f"--address {address}: no cluster answers"),
        ray_cluster.connected(address),
    ):
        pass


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GanealogyError, match=r"needs Ray: pip install 'ganealogy\[cluster\]'"):
        ray_cluster.ray_module()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fresh(tmp_path_factory.mktemp("a path") / "with spaces")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "9999"], "ganealogy: --jobs 9999: there are "),
        (["--gpus-per-run", "9999", "--no-dashboard"], "9999 GPUs per run: fewer --gpus-per-run"),
        (["--address", "127.0.0.1:1"], "ganealogy: --address 127.0.0.1:1: no cluster answers"),
    ],
)
def test_wrong_options_are_refused_before_any_stage_runs(
    workspace: Workspace, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pytest.importorskip("ray")
    if "--address" in arguments:
        workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(tmp_path / "store"))
    done = workspace.ganealogy("repro", *arguments)
    assert done.returncode == 2 and message in done.stdout and done.stdout.count("\n") == 1, done.stdout
    assert not (workspace.path / "build").exists() and not (workspace.path / "dvc.lock").exists(), "a stage has run"


def test_an_unwritable_remote_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(tmp_path / "file" / "store"))
    with pytest.raises(GanealogyError, match=r"DVC remote store \(.*\): cannot be written") as caught:
        dvc_remote.find(workspace.path, single_machine=False)
    assert "\n" not in str(caught.value)
    assert not (workspace.path / "build").exists(), "a stage has run"


def test_a_clone_gets_the_remotes_settings(workspace: Workspace, tmp_path: Path) -> None:
    """A relative path with special characters becomes absolute, and DVC in the clone reads it."""
    remote = tmp_path / "sto, re #1"
    workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(remote))
    storage = dvc_remote.find(workspace.path, single_machine=False)
    clone = fresh(tmp_path / "clone")
    (clone.path / ".dvc" / "config.local").write_text(
        storage.config.replace(dvc_remote.CACHE_PLACEHOLDER, str(tmp_path / "cache, node 1"))
    )
    assert str(remote) in clone.dvc("remote", "list")
    assert clone.dvc("cache", "dir").strip() == str(tmp_path / "cache, node 1")


def test_only_a_single_machine_works_without_a_remote(tmp_path: Path) -> None:
    bare = fresh(tmp_path / "bare")
    with pytest.raises(GanealogyError, match="dvc remote add -d store ADDRESS"):
        dvc_remote.find(bare.path, single_machine=False)
    storage = dvc_remote.find(bare.path, single_machine=True)
    assert storage.name is None and storage.cache == str(bare.path / ".dvc" / "cache")


def test_the_commit_has_uncommitted_and_new_files_and_leaves_the_workspace_unchanged(tmp_path: Path) -> None:
    workspace = fresh(tmp_path / "mine")
    workspace.edit("params.yaml", "count: 120", "count: 121")
    workspace.run("git", "add", "params.yaml")
    workspace.edit("params.yaml", "count: 121", "count: 122")
    (workspace.path / "versions" / "v99.yaml").write_text("title: new\n")
    (workspace.path / "my-pictures").mkdir()
    (workspace.path / "my-pictures" / "huge.png").write_bytes(b"not for git")
    before = workspace.run("git", "status", "--porcelain=v2", "--branch").stdout
    commit = workspace_commit.create(workspace.path)
    assert commit.uncommitted == 2
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
    assert clone.run("git", "rev-list", "--count", "HEAD").stdout.strip() == "1", "the bundle carries history"
    assert workspace_commit.create(workspace.path).tree == commit.tree
    workspace.edit("params.yaml", "count: 122", "count: 123")
    assert workspace_commit.create(workspace.path).tree != commit.tree


def test_a_folder_outside_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="not the top of a git repository"):
        workspace_commit.create(tmp_path)
