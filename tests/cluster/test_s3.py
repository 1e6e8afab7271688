"""An S3 server on loopback as the DVC remote, for data, results and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh

from ganealogy.cluster import dvc_remote
from ganealogy.cluster.checkpoint_sync import Mirror
from ganealogy.cluster.transfer import Remote
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
    settings = dvc_remote.find(workspace.path)
    assert settings is not None and settings["url"] == "s3://pictures/ganealogy"
    assert settings["endpointurl"] == endpoint and settings["secret_access_key"] == "secret"


def test_a_missing_bucket_is_named(workspace: Workspace) -> None:
    local = workspace.path / ".dvc" / "config.local"
    before = local.read_text()
    local.write_text(before.replace("s3://pictures/", "s3://missing/"))
    try:
        with pytest.raises(GanealogyError, match=r"DVC remote store \(s3://missing/ganealogy\): ") as caught:
            dvc_remote.find(workspace.path)
        assert "\n" not in str(caught.value)
    finally:
        local.write_text(before)


@pytest.fixture
def remote(workspace: Workspace) -> Remote:
    settings = dvc_remote.find(workspace.path)
    assert settings is not None
    return Remote(settings)


def test_an_input_travels(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "one.bin").write_bytes(b"one")
    digest = remote.send_input(tmp_path / "data")
    assert (remote.fetch_input(digest, tmp_path / "node") / "deep" / "one.bin").read_bytes() == b"one"
    remote.fs.remove(remote.fs.join(remote.base, "inputs", digest, "files.json"))
    with pytest.raises(GanealogyError, match=f"input {digest} is absent"):
        remote.fetch_input(digest, tmp_path / "other node")


def test_a_node_fetches_the_checkpoints_that_another_sent(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are the same, older checkpoints are absent, and `delete` leaves nothing."""
    for name in ("one node", "other node"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one node")
    sender = Mirror(remote, KEY)
    work = sender.local
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

    monkeypatch.chdir(tmp_path / "other node")
    receiver = Mirror(remote, KEY)
    receiver.fetch()
    received = {
        path.relative_to(receiver.local).as_posix(): path.read_text()
        for path in receiver.local.rglob("*")
        if path.is_file()
    }
    assert received == {name.replace("04.json", "08.json").replace("04.safe", "08.safe"): files[name] for name in files}
    receiver.delete()
    assert list(receiver.fs.find(receiver.place)) == []
