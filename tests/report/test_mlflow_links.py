from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ganealogy.report.mlflow_links import found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MLflow's tables as far as they are read, with a run and one that was deleted."""
    path = tmp_path / "my store" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("create table runs (run_uuid text, experiment_id int, lifecycle_stage text, start_time int)")
        base.execute("create table tags (key text, value text, run_uuid text)")
        base.executemany("insert into runs values (?, 3, ?, 0)", [("abc", "active"), ("old", "deleted")])
        base.executemany("insert into tags values ('ganealogy.key', ?, ?)", [("d1", "abc"), ("d2", "old")])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    return path


def test_a_run_is_found_by_its_key(store: Path) -> None:
    assert found(["d1", "d2", "d3"]) == {"d1": "http://127.0.0.1:5000/#/experiments/3/runs/abc"}


@pytest.mark.parametrize("content", [None, b"", b"not a database at all, but text"])
def test_no_store_or_a_damaged_one_gives_no_links(store: Path, content: bytes | None) -> None:
    store.unlink() if content is None else store.write_bytes(content)
    assert found(["d1"]) == {}


def test_a_server_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert found(["d1"]) == {}
