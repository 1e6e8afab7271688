"""An S3-speaking server on loopback as the DVC remote: found, written, and a way for checkpoints between nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh, ran

from ganealogy.errors import GanealogyError

for package in ("dvc_s3", "moto.server"):
    if not os.environ.get("GANEALOGY_SERVICES"):  # where services are asked for, their absence is a failure
        pytest.importorskip(package)

# The S3 client's own, on Python 3.12 and later.
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


def test_the_remote_is_found_and_tried(workspace: Workspace, endpoint: str) -> None:
    from ganealogy.cluster import dvc_remote

    found = dvc_remote.find(workspace.path, alone=False)
    assert found.shown == "s3://pictures/ganealogy" and found.cache is None
    assert f"endpointurl = {endpoint}" in found.config and "secret_access_key = secret" in found.config


def test_a_bucket_that_is_not_there(workspace: Workspace) -> None:
    from ganealogy.cluster import dvc_remote

    local = workspace.path / ".dvc" / "config.local"
    before = local.read_text()
    local.write_text(before.replace("s3://pictures/", "s3://nobodys/"))
    try:
        with pytest.raises(GanealogyError, match=r"DVC remote store \(s3://nobodys/ganealogy\): ") as caught:
            dvc_remote.find(workspace.path, alone=False)
        assert "\n" not in str(caught.value)
    finally:
        local.write_text(before)


def test_checkpoints_travel(workspace: Workspace, tmp_path: Path) -> None:
    """One node sends, another fetches the same bytes, and what is finished is forgotten."""
    from ganealogy.cluster.checkpoint_sync import Mirror

    here = Mirror(workspace.path, "store", KEY)
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
    here.send()
    (work / "checkpoints/000000004.json").rename(work / "checkpoints/000000008.json")
    (work / "checkpoints/000000004.safetensors").rename(work / "checkpoints/000000008.safetensors")
    here.send()

    other = fresh(tmp_path / "other node")
    (other.path / ".dvc" / "config.local").write_text((workspace.path / ".dvc" / "config.local").read_text())
    there = Mirror(other.path, "store", KEY)
    there.fetch()
    found = {
        path.relative_to(there.here).as_posix(): path.read_text() for path in there.here.rglob("*") if path.is_file()
    }
    assert found == {name.replace("04.json", "08.json").replace("04.safe", "08.safe"): files[name] for name in files}
    there.forget()
    assert list(there.fs.find(there.there)) == []


def test_dvc_pushes_and_pulls(workspace: Workspace) -> None:
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
def test_a_tree_runs_through_it(workspace: Workspace) -> None:
    """Nodes push what they made to the bucket, the driver takes it from there, and DVC finds nothing left to do."""
    pytest.importorskip("ray")
    workspace.edit("params.yaml", "[v1, v3]", "[v1]")
    done = workspace.ganealogy("repro", "--jobs", "1", RAY_USAGE_STATS_ENABLED="0")
    assert done.returncode == 0, done.stdout
    assert [stage for stage in ran(done.stdout) if "@" in stage] == [], "the driver fetched, it trained nothing"
    assert "up to date" in workspace.dvc("status")
    assert set(json.loads((workspace.path / "reports" / "metrics.json").read_text())) == {"v1"}
