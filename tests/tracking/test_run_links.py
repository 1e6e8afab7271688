"""Addresses of MLflow runs by run key."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ganealogy.tracking import store
from ganealogy.tracking.run_links import run_links


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my store" / "mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    return path


def test_a_run_is_found_by_its_key(database: Path) -> None:
    with store.open_client() as client:
        experiment = client.create_experiment("a dataset, 32×32")
        run = client.create_run(experiment, tags={"ganealogy.key": "k1"}).info.run_id
        deleted = client.create_run(experiment, tags={"ganealogy.key": "k2"}).info.run_id
        client.delete_run(deleted)
        client.create_run(experiment, tags={"tool": "another"})
    assert run_links(["k1", "k2", "k3"]) == {"k1": f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run}"}


@pytest.mark.parametrize("content", [None, b"not a database at all, but text"])
def test_an_absent_or_damaged_store_gives_no_links(database: Path, content: bytes | None) -> None:
    if content is not None:
        database.parent.mkdir()
        database.write_bytes(content)
    assert run_links(["k1"]) == {}
    assert database.exists() is (content is not None), "reading creates no store"


def test_a_locked_store_gives_no_links(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_WAIT_S", 0.1)
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        assert run_links(["k1"]) == {}
    finally:
        connection.close()


def test_a_server_is_not_queried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert run_links(["k1"]) == {}
