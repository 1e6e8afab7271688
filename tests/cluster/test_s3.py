"""An S3 server on loopback as the DVC remote, for data, results and checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh, ran

from ganealogy.errors import GanealogyError

for package in ("dvc_s3", "moto.server"):
    if not os.environ.get("GANEALOGY_SERVICES"):  # with it, a missing package is a failure
        pytest.importorskip(package)

# Raised by the S3 client on Python 3.12 and later.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

KEY = "0123456789abcdef0123456789"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, endpoint: str) -> Workspace:
    import requests

    assert requests.put(f"{endpoint}/pictures", timeout=20).status_code == 200
    workspace = fresh(tmp_path_factory.mktemp("s3") / "work")
    (workspace.path / ".dvc" / "config.local").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = s3://pictures/ganealogy\n"
        f"    endpointurl = {endpoint}\n    access_key_id = somebody\n    secret_access_key = secret\n"
        "    region = us-east-1\n"
    )
    return workspace


def test_the_default_remote_is_found_with_its_settings(workspace: Workspace, endpoint: str) -> None:
    from ganealogy.cluster import dvc_remote

    storage = dvc_remote.find(workspace.path, single_machine=False)
    assert storage.address == "s3://pictures/ganealogy" and storage.cache is None
    assert f"endpointurl = {endpoint}" in storage.config and "secret_access_key = secret" in storage.config


def test_a_missing_bucket_is_named(workspace: Workspace) -> None:
    from ganealogy.cluster import dvc_remote

    local = workspace.path / ".dvc" / "config.local"
    before = local.read_text()
    local.write_text(before.replace("s3://pictures/", "s3://missing/"))
    try:
        with pytest.raises(GanealogyError, match=r"DVC remote store \(s3://missing/ganealogy\): ") as caught:
            dvc_remote.find(workspace.path, single_machine=False)
        assert "\n" not in str(caught.value)
    finally:
        local.write_text(before)


def test_a_node_fetches_the_checkpoints_that_another_sent(workspace: Workspace, tmp_path: Path) -> None:
    """The bytes are the same, older checkpoints are absent, and `delete` leaves nothing."""
    from ganealogy.cluster.checkpoint_sync import Mirror

    sender = Mirror(workspace.path, "store", KEY)
    work = workspace.path / "build" / "wip" / KEY[:20]
    files = {
        "train/metrics.jsonl": "{}\n",
        "train/grids/000004.png": "a grid",
        "checkpoints/000000004.safetensors": "tensors",
        "checkpoints/000000004.json": "{}",
    }
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(content)
    sender.send()
    (work / "checkpoints/000000004.json").rename(work / "checkpoints/000000008.json")
    (work / "checkpoints/000000004.safetensors").rename(work / "checkpoints/000000008.safetensors")
    sender.send()

    other = fresh(tmp_path / "other node")
    (other.path / ".dvc" / "config.local").write_text((workspace.path / ".dvc" / "config.local").read_text())
    receiver = Mirror(other.path, "store", KEY)
    receiver.fetch()
    received = {
        path.relative_to(receiver.local).as_posix(): path.read_text()
        for path in receiver.local.rglob("*")
        if path.is_file()
    }
    assert received == {name.replace("04.json", "08.json").replace("04.safe", "08.safe"): files[name] for name in files}
    receiver.delete()
    assert list(receiver.fs.find(receiver.remote)) == []


def test_dvc_pushes_to_and_pulls_from_the_server(workspace: Workspace) -> None:
    picture = workspace.path / "one.bin"
    picture.write_bytes(b"a picture")
    workspace.dvc("add", "-q", "one.bin")
    workspace.dvc("push", "one.bin.dvc")
    picture.unlink()
    for cached in (workspace.path / ".dvc" / "cache").rglob("*"):
        if cached.is_file():
            cached.unlink()
    workspace.dvc("pull", "one.bin.dvc")
    assert picture.read_bytes() == b"a picture"


@pytest.mark.slow
def test_repro_takes_its_results_from_the_server(workspace: Workspace) -> None:
    """Nodes push results to the bucket, the driver fetches them, and `dvc status` is then up to date."""
    pytest.importorskip("ray")
    workspace.edit("params.yaml", "[v1, v3]", "[v1]")
    done = workspace.ganealogy("repro", "--jobs", "1", RAY_USAGE_STATS_ENABLED="0")
    assert done.returncode == 0, done.stdout
    assert [stage for stage in ran(done.stdout) if "@" in stage] == [], "the driver trained"
    assert "up to date" in workspace.dvc("status")
    assert set(json.loads((workspace.path / "reports" / "metrics.json").read_text())) == {"v1"}
