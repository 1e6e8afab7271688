"""Wrong arguments and remotes: one line of error within seconds, before any stage runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from helpers.pipeline import Workspace, fresh

from ganealogy.cluster import dvc_remote, fill, ray_cluster
from ganealogy.cluster.transfer import Remote
from ganealogy.errors import GanealogyError

ONE = [{"CPU": 8.0, "GPU": 0.0}]
GPUS = [{"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 0.0}]


def test_by_default_as_many_jobs_run_as_fit() -> None:
    assert ray_cluster.allocate(ONE, None, 2, None) == ray_cluster.Allocation(4, 2, 0)
    assert ray_cluster.allocate(ONE, 3, 2, None) == ray_cluster.Allocation(3, 2, 0)
    assert ray_cluster.allocate(GPUS, None, 2, None) == ray_cluster.Allocation(8, 2, 1)
    assert ray_cluster.allocate(GPUS, None, 2, 4) == ray_cluster.Allocation(2, 2, 4)


@pytest.mark.parametrize(("shared_by", "jobs"), [(1, 8), (2, 16), (3, 24), (5, 40), (25, 200)])
def test_a_gpu_is_shared_by_as_many_runs_as_the_setting_says(shared_by: int, jobs: int) -> None:
    nodes = [{"CPU": 512.0, "GPU": 8.0}]
    room = ray_cluster.allocate(nodes, None, 2, None, shared_by)
    assert room.jobs == jobs and shared_by * room.gpus <= 1
    assert ray_cluster.allocate(nodes, None, 2, 2, shared_by).jobs == 4, "--gpus-per-run wins"
    assert ray_cluster.allocate(ONE, None, 2, None, shared_by) == ray_cluster.Allocation(4, 2, 0)


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


CONNECT = """
import sys
from ganealogy.cluster import ray_cluster
with ray_cluster.connected(sys.argv[1], dashboard=False) as ray:
    print("nodes:", len(ray.nodes()))
"""


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_commands_in_the_messages_start_a_cluster_and_connect_with_its_token(tmp_path: Path) -> None:
    """`ray start` is typed with more options than the message names, so that it is in no other cluster's way."""
    pytest.importorskip("ray")
    ray = str(Path(sys.executable).with_name("ray"))
    environment = {**os.environ, "PYTHONPATH": "src", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, check=False)

    def connect(address: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, "-c", CONNECT, address, **more)

    said = connect(f"127.0.0.1:{port}").stderr
    arguments = re.findall(r"`ray (.+?)` prints the address", said)[0].split()
    assert run(ray, "get-auth-token", "--generate").returncode == 0
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # short, for its sockets
        own = [f"--port={port}", "--num-cpus=1", "--object-store-memory=80000000", f"--temp-dir={folder}"]
        try:
            done = run(ray, *arguments, *own, "--include-dashboard=false")
            address = re.search(r"--address='(.+?)'", done.stdout)
            assert address, done.stdout + done.stderr
            refused = connect(address[1]).stderr
            name, value = re.findall(r"if the cluster was started with a token, set (\w+)=(\w+)", refused)[-1]
            connected = connect(address[1], **{name: value})
            assert "nodes: 1" in connected.stdout, connected.stderr
            lost = connect(address[1], **{name: value}, HOME=str(tmp_path / "elsewhere")).stderr.splitlines()[-1]
            assert lost.startswith("ganealogy.errors.GanealogyError") and "no authentication token" in lost
        finally:  # `ray stop` would stop the clusters of other tests
            for process in psutil.process_iter(["cmdline"]):
                if any(folder in word for word in process.info["cmdline"] or ()):
                    process.kill()


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
        (["--gpus-per-run", "2"], "--gpus-per-run needs --address"),
        (["--address", "127.0.0.1:1"], "ganealogy: --address 127.0.0.1:1: no cluster answers"),
    ],
)
def test_wrong_options_are_refused_before_any_stage_runs(
    workspace: Workspace, arguments: list[str], message: str
) -> None:
    pytest.importorskip("ray")
    done = workspace.ganealogy("repro", *arguments)
    assert done.returncode == 2 and message in done.stdout.splitlines()[-1], done.stdout
    assert not (workspace.path / "build").exists() and not (workspace.path / "dvc.lock").exists(), "a stage has run"


def test_an_unwritable_remote_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    """And used after the command in the message."""
    (tmp_path / "file").write_text("not a folder")
    workspace.dvc("remote", "add", "--local", "-f", "-d", "store", str(tmp_path / "file" / "store"))
    with pytest.raises(GanealogyError, match=r"DVC remote store \(.*\): cannot be written") as caught:
        dvc_remote.find(workspace.path)
    assert "\n" not in str(caught.value) and "`dvc remote modify`" in str(caught.value)
    assert not (workspace.path / "build").exists(), "a stage has run"
    workspace.dvc("remote", "modify", "--local", "store", "url", str(tmp_path / "folder"))
    assert dvc_remote.find(workspace.path) is not None


def test_a_remote_that_is_not_defined_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    workspace.dvc("remote", "add", "--local", "-f", "store", str(tmp_path / "store"))
    workspace.dvc("config", "--local", "core.remote", "stor")
    with pytest.raises(GanealogyError, match=r"'stor', which is not defined; `dvc remote list`"):
        dvc_remote.find(workspace.path)
    shown = workspace.dvc("remote", "list").split()[0]
    workspace.dvc("config", "--local", "core.remote", shown)
    assert dvc_remote.find(workspace.path) is not None


def test_a_node_without_a_repository_opens_the_remote(workspace: Workspace, tmp_path: Path) -> None:
    """A relative path with special characters becomes absolute."""
    remote = tmp_path / "sto, re #1"
    place = os.path.relpath(remote, workspace.path)
    workspace.dvc("remote", "add", "--local", "-f", "-d", "store", place)
    settings = dvc_remote.find(workspace.path)
    assert settings is not None
    fs, path = dvc_remote.file_system(json.loads(json.dumps(settings)))
    assert path == str(remote) and fs.exists(path)


def test_without_a_remote_every_node_must_see_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = fresh(tmp_path / "bare")
    monkeypatch.chdir(bare.path)
    monkeypatch.setattr(ray_cluster, "connected", lambda address, dashboard: contextlib.nullcontext(Mock()))
    monkeypatch.setattr(ray_cluster, "cluster_resources", lambda ray: ONE)
    monkeypatch.setattr(ray_cluster, "check_nodes", lambda ray, describe, root: False)
    with pytest.raises(GanealogyError, match="dvc remote add -d store ADDRESS"), fill.on_cluster("here:1"):
        pass
    bare.dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    with fill.on_cluster("here:1"):
        pass
    bare.dvc("remote", "remove", "store")
    monkeypatch.setattr(ray_cluster, "check_nodes", lambda ray, describe, root: True)
    with fill.on_cluster("here:1"):
        pass


def test_an_input_travels_and_a_damaged_one_is_uploaded_again(tmp_path: Path) -> None:
    data, base = tmp_path / "data", tmp_path / "node"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "one.bin").write_bytes(b"one")
    remote = Remote({"url": str(tmp_path / "remote")})
    digest = remote.send_input(data)
    assert (remote.fetch_input(digest, base) / "deep" / "one.bin").read_bytes() == b"one"
    (there,) = (tmp_path / "remote").rglob("one.bin")
    there.write_bytes(b"two")
    with pytest.raises(GanealogyError, match=f"input {digest} is absent or damaged"):
        remote.fetch_input(digest, tmp_path / "another node")
    assert remote.send_input(data) == digest and there.read_bytes() == b"one"
    (there.parents[1] / "files.json").write_text('{"sha256": {"../../escape": "0"}}')
    with pytest.raises(GanealogyError, match="absent or damaged"):
        remote.fetch_input(digest, tmp_path / "a third")


def test_the_bundle_has_what_a_node_needs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.path)
    assert workspace.ganealogy("plan").returncode == 0
    names = zipfile.ZipFile(io.BytesIO(fill.bundle())).namelist()
    assert {"params.yaml", "dvc.yaml", "build/plan/versions/v1.json", "src/ganealogy/cluster/node.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
