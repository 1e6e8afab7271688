"""Open the MLflow store, and turn its failures into `StoreError`.

The store is that of MLFLOW_TRACKING_URI, else a sqlite file under DVC_ROOT, which `dvc exp run --temp` shares with the
workspace. A store that is down, slow, locked, damaged or read-only costs seconds and one line of output, never a
training or a report: a later sync posts the run directories.
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

from ganealogy.workspace import MLFLOW, main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS = "MLFLOW_TRACKING_URI"
LOCK_WAIT_S = 30.0
BUSY_WAIT_S = 4.0
SQLITE = "sqlite:///"
ADDRESS_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns (table, column) of MLflow's database that contain the address of a file."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # it drops failed batches with a log message
    # By default each call retries a dead server for four minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}


class StoreError(Exception):
    """The store could not be read or written. The message is one line with the cause."""


def home() -> Path:
    """Return build/mlflow of the main workspace, also inside an experiment's temporary copy."""
    return main_root() / MLFLOW


def uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the address of the sqlite file in `home()`."""
    return os.environ.get(ADDRESS) or f"{SQLITE}{home() / 'mlflow.db'}"


def display_uri(address: str | None = None) -> str:
    """Return `address`, by default the store's, without user name and password."""
    return re.sub(r"//[^/@]*@", "//", address or uri())


def is_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def artifact_location(experiment: str) -> str | None:
    """Return the folder for a new experiment's files; None: the server chooses. The default would be ./mlruns."""
    if is_server(uri()):
        return None
    folder = re.sub(r"[^A-Za-z0-9.-]+", "-", experiment.replace("×", "x")).strip("-")
    return (home() / "artifacts" / folder).as_uri()


def prepare_environment() -> None:
    """Set MLflow's variables for this process and its children, except those that the user has set."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "urllib3"):  # `StoreError` reports failures
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def open_client() -> Iterator[MlflowClient]:
    """Yield a client of the initialised store, under a lock among Ganealogy's processes.

    Raises: StoreError for failures of the store, the network and the file system. Other exceptions are bugs and pass.
    """
    prepare_environment()
    import mlflow  # noqa: F401  # takes seconds to a minute, so before the lock

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
    """Return the store's sqlite file; None for a server or another database."""
    address = uri()
    plain = address.startswith(SQLITE) and not address.startswith(f"{SQLITE}file:")
    return Path(address.removeprefix(SQLITE)) if plain else None


def _check(database: Path) -> None:
    """Fail in seconds on a locked, damaged or read-only file; MLflow would wait 20 s per call.

    Raises: sqlite3.Error.
    """
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
    """Update the absolute addresses of files in the database after the project was moved or copied."""
    artifacts = f"{(home() / 'artifacts').as_uri()}/"
    suffix = "/build/mlflow/artifacts/"
    addresses = [row[0] for row in connection.execute("SELECT artifact_location FROM experiments") if row[0]]
    local = [text for text in addresses if text.startswith("file:") and suffix in text]
    stale = {text[: text.index(suffix) + len(suffix)] for text in local if not text.startswith(artifacts)}
    for old in stale:
        changed = 0
        for table, column in ADDRESS_COLUMNS:
            changed += connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (artifacts, len(old) + 1, len(old), old),
            ).rowcount
        if changed > 1:  # more than the empty experiment "Default"
            print(f"MLflow: the project was at {old.removesuffix(suffix)}; its store is updated", file=sys.stderr)


def _initialise(database: Path) -> None:
    """Create the store under a temporary name and rename it, so that a kill cannot leave it half-migrated.

    Call under the lock: two processes that create an MLflow database at the same time break it for good.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    for leftover in database.parent.glob(f".{database.name}.*.new*"):
        leftover.unlink()
    # A new name each time, because MLflow caches connections by file name.
    fresh = database.with_name(f".{database.name}.{time.time_ns()}.new")
    artifacts = (home() / "artifacts" / "default").as_uri()
    store = SqlAlchemyStore(f"{SQLITE}{fresh}", artifacts)  # type: ignore[no-untyped-call]
    store.delete_experiment("0")  # type: ignore[no-untyped-call]  # the UI would show an empty "Default" first
    store.engine.dispose()
    fresh.replace(database)


def _client(address: str) -> MlflowClient:
    """Return a client of the store, and make that MLflow's global store: logging a model uses it."""
    import mlflow

    user_address = os.environ.get(ADDRESS)
    mlflow.set_tracking_uri(address)
    os.environ.pop(ADDRESS, None)  # set by MLflow too; child processes in other projects would use it
    if user_address is not None:
        os.environ[ADDRESS] = user_address
    return _cached_client(address)


@functools.cache
def _cached_client(address: str) -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient(address)


def _one_line(error: BaseException) -> str:
    """Return the first line of the innermost cause: the wrapping errors are longer and less specific."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = display_uri(lines[0]) if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
