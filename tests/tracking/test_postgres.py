"""Posting to an MLflow server on PostgreSQL."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganealogy import tracking
from ganealogy.workspace import RunDir


def program(name: str) -> str:
    """Return the path of a PostgreSQL program; Debian's are not on PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = shutil.which(name) or shutil.which(name, path=":".join(map(str, folders)))
    if path is None or importlib.util.find_spec("psycopg2") is None:
        if os.environ.get("GANEALOGY_SERVICES"):
            pytest.fail(f"{name} or psycopg2 is not installed, and GANEALOGY_SERVICES is set")
        pytest.skip("PostgreSQL or psycopg2 is not installed")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of an empty database; stop the server afterwards."""
    folder = tmp_path_factory.mktemp("pg")
    data = folder / "data"
    # PostgreSQL refuses to run as root; its package has a user for it.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        folder_name = subprocess.run([*as_user, "mktemp", "-d"], capture_output=True, text=True, check=True)
        data = Path(folder_name.stdout.strip())
    port = free_port()

    def call(name: str, *arguments: str) -> None:
        subprocess.run([*as_user, program(name), "-D", str(data), *arguments], check=True, capture_output=True, cwd="/")

    call("initdb", "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {data}"
    call("pg_ctl", "-w", "-t", "120", "-l", str(data / "log"), "-o", options, "start")
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(data, ignore_errors=True)


def test_two_syncs_post_a_run_once(
    finished: RunDir, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # The driver by name: SQLAlchemy's default is psycopg2 up to 2.0 and psycopg from 2.1 on.
    backend = postgres.replace("postgresql:", "postgresql+psycopg2:")
    store = ["--backend-store-uri", backend, "--artifacts-destination", str(tmp_path / "artifacts")]
    address = f"http://127.0.0.1:{port}"
    log = tmp_path / "server.log"
    with log.open("w") as file:
        quiet = {"env": {**os.environ, "TMPDIR": str(tmp_path)}, "stdout": file, "stderr": file}
        server = subprocess.Popen([*command, *store], start_new_session=True, **quiet)
    try:
        deadline = time.monotonic() + 200
        while not answers(f"{address}/health"):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        first, second = tracking.sync(finished), tracking.sync(finished)
        assert first.warning is None and second.warning is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    query = "select count(*), min(status) from runs; select count(*) from metrics where key = 'train/fd_pixel8'"
    psql = [program("psql"), postgres, "-AtX", "-c", query]
    assert subprocess.run(psql, capture_output=True, text=True, check=True).stdout.split() == ["1|FINISHED", "3"]
    assert list((tmp_path / "artifacts").rglob("grid.png"))


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as page:
            return bool(page.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_a_database_is_posted_to_without_a_server_and_nothing_shows_its_password(
    finished: RunDir, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    psql = [program("psql"), postgres, "-AtX", "-c"]
    subprocess.run([*psql, "create database direct"], check=True, capture_output=True)
    place = postgres.removeprefix("postgresql://tester").removesuffix("postgres")
    address = f"postgresql+psycopg2://tester:s3cret{place}direct"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", (tmp_path / "shared").as_uri())
    first, second = tracking.sync(finished), tracking.sync(finished)
    assert first.warning is None and first.run_id == second.run_id
    assert sum(second.posted.values()) == 0
    assert list((tmp_path / "shared").rglob("recipe.yaml")) and not Path("mlartifacts").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("/direct", "/absent"))
    failed = tracking.sync(finished)
    assert failed.warning is not None and "absent" in failed.warning
    out, err = capfd.readouterr()
    written = [path.read_bytes() for folder in (Path(), tmp_path) for path in folder.rglob("*") if path.is_file()]
    dump = subprocess.run([*psql[:1], f"postgresql://tester{place}direct", "-AtX", "-c", TEXTS], capture_output=True)
    assert dump.returncode == 0 and dump.stdout
    assert not [text for text in (out.encode(), err.encode(), dump.stdout, *written) if b"s3cret" in text]


TEXTS = """
select key, value from tags; select key, value from params; select artifact_uri from runs;
select artifact_location from experiments; select key, value from experiment_tags;
select source, description from model_versions; select key, value from registered_model_tags;
select dataset_source, dataset_profile from datasets; select artifact_location from logged_models;
select * from logged_model_tags
"""
