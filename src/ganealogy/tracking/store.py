"""The MLflow store: where it is, how it is opened, and what counts as its failure rather than ours.

By default a sqlite file under DVC_ROOT, so that an experiment in a temporary copy posts to the same one as the
workspace; MLFLOW_TRACKING_URI comes first. A store that is down, slow, locked, damaged or read-only costs seconds
and one line, never a training or a report: the run directories are the record, and a later sync posts them.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from filelock import FileLock, Timeout

from ganealogy.runtime.root import main_root
from ganealogy.workspace import MLFLOW

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS = "MLFLOW_TRACKING_URI"
LOCK_WAIT_S = 30.0
BUSY_WAIT_S = 4.0
SQLITE = "sqlite:///"
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's tables keep an address."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # its failed batches are dropped with a log line
    # A dead server is retried for four minutes a call by default.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}


class StoreError(Exception):
    """The store could not be read or written; one line that says how."""


def home() -> Path:
    """build/mlflow under DVC_ROOT (the main workspace, also within an experiment's temporary copy)."""
    return main_root() / MLFLOW


def uri() -> str:
    """MLFLOW_TRACKING_URI, else the sqlite store under `home()`."""
    return os.environ.get(ADDRESS) or f"{SQLITE}{home() / 'mlflow.db'}"


def shown(address: str | None = None) -> str:
    """The store's address as it may be printed: without a password."""
    return re.sub(r"//[^/@]*@", "//", address or uri())


def is_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def artifact_location(experiment: str) -> str | None:
    """Where a new experiment's files go; None lets a server decide. Without it, sqlite takes ./mlruns of the moment."""
    if is_server(uri()):
        return None
    folder = re.sub(r"[^A-Za-z0-9.-]+", "-", experiment.replace("×", "x")).strip("-")
    return (home() / "artifacts" / folder).as_uri()


def prepare_environment() -> None:
    """MLflow's settings for this process and its children; what the user set stands."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "urllib3"):  # a failure is told in one line, by `StoreError`
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def opened() -> Iterator[MlflowClient]:
    """A client of the initialised store, for this process alone among Ganealogy's.

    Raises: StoreError for whatever the store or the way to it does wrong. Errors of other kinds are bugs and pass.
    """
    prepare_environment()
    import mlflow  # noqa: F401  # seconds, and on a busy machine a minute: not under the lock that others wait for

    try:
        home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "lock", timeout=LOCK_WAIT_S):
            file = database()
            if file:
                _check(file)
            with _mlflow_errors():
                if file and not file.exists():
                    _initialise(file)
                yield _client(uri())
    except Timeout:
        raise StoreError(f"another process has held {home() / 'lock'} for {LOCK_WAIT_S:.0f} s") from None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(_one_line(error)) from error


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise StoreError(_one_line(error)) from error


def database() -> Path | None:
    """The sqlite file, when the store is a plain one; None for a server or another database."""
    address = uri()
    plain = address.startswith(SQLITE) and not address.startswith(f"{SQLITE}file:")
    return Path(address.removeprefix(SQLITE)) if plain else None


def _check(database: Path) -> None:
    """Fail in seconds on a locked, damaged or read-only file, where MLflow would wait 20 s a call."""
    if not database.exists():
        return
    connection = sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=BUSY_WAIT_S)
    try:
        connection.execute("BEGIN IMMEDIATE")
        if database.parent == home():
            _follow_move(connection)
        connection.commit()
    finally:
        connection.close()


def _follow_move(connection: sqlite3.Connection) -> None:
    """The store keeps whole addresses of files that lie beside it; where the project was moved or copied, mend them."""
    here = f"{(home() / 'artifacts').as_uri()}/"
    mark = "/build/mlflow/artifacts/"
    known = [row[0] for row in connection.execute("SELECT artifact_location FROM experiments") if row[0]]
    local = [place for place in known if place.startswith("file:") and mark in place and not place.startswith(here)]
    for there in {place[: place.index(mark) + len(mark)] for place in local}:
        moved = 0
        for table, column in PLACES:
            moved += connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (here, len(there) + 1, len(there), there),
            ).rowcount
        if moved > 1:  # more than the empty "Default"
            print(f"MLflow: the project was at {there.removesuffix(mark)}; its store follows", file=sys.stderr)


def _initialise(database: Path) -> None:
    """Make the store under another name and rename it: killed on the way, it is absent and never half-migrated.

    Processes that open a fresh MLflow database at the same time break it for good; this one holds the lock.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    for leftover in database.parent.glob(f".{database.name}.*.new*"):
        leftover.unlink()
    fresh = database.with_name(f".{database.name}.{time.time_ns()}.new")  # MLflow keeps connections by file name
    artifacts = (home() / "artifacts" / "default").as_uri()
    store = SqlAlchemyStore(f"{SQLITE}{fresh}", artifacts)  # type: ignore[no-untyped-call]
    store.delete_experiment("0")  # type: ignore[no-untyped-call]  # an empty "Default" would come first in the UI
    store.engine.dispose()
    fresh.replace(database)


def _client(address: str) -> MlflowClient:
    """A client of that store, which is MLflow's global one from here on: logging a model goes through that."""
    import mlflow

    given = os.environ.get(ADDRESS)
    mlflow.set_tracking_uri(address)
    os.environ.pop(ADDRESS, None)  # it sets the variable too: what this process starts in another project would follow
    if given is not None:
        os.environ[ADDRESS] = given
    return _connected(address)


@functools.cache
def _connected(address: str) -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient(address)


def _one_line(error: BaseException) -> str:
    """The innermost cause: what wraps it says less at more length."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = shown(lines[0]) if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
