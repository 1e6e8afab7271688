"""Open the MLflow store, and turn its failures into `StoreError`.

The store is that of MLFLOW_TRACKING_URI, else mlflow.db in the project, where plain `mlflow ui` looks for it; DVC_ROOT
names the project in the copies of `dvc exp run --temp`. Files of runs are in mlartifacts beside a sqlite store. A store
that is down, slow, locked, damaged or read-only costs seconds and one line of output, never a training or a report: a
later sync posts the run directories.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from ganealogy.runtime.addresses import without_secrets
from ganealogy.workspace import MLFLOW, OLD_MLFLOW, main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS = "MLFLOW_TRACKING_URI"
LOCK_WAIT_S = 30.0
BUSY_WAIT_S = 4.0
POOL = "MLFLOW_SQLALCHEMYSTORE_POOL"
SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(?!file:|:memory:)([^?]+)")
"""Address of a sqlite file, with its path, in which SQLAlchemy decodes %."""
ARTIFACTS = "mlartifacts"
OLD_ARTIFACTS = f"/{OLD_MLFLOW.parent}/artifacts/"
OLD_SCHEMA = re.compile(r"out-of-date database schema \(found version (\w+)")
REPAIR = "repair it, or move it away and run `ganealogy sync`: the run directories have all of its content"
POST_LATER = "the run directories are complete; `ganealogy sync` posts them later"
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
    """The store could not be read or written. The message is one line with the cause; `remedy` says what to do."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        """`remedy`: empty if the cause may pass, or a person has to look."""
        super().__init__(cause)
        self.remedy = remedy or POST_LATER
        self.repair = remedy or REPAIR
        """The remedy where nothing is to be posted."""


def uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the address of the project's sqlite file."""
    return os.environ.get(ADDRESS) or sqlite_uri(_own_database())


def _own_database() -> Path:
    """Return mlflow.db of the main workspace, or the file that earlier versions kept below build if it is there."""
    old = main_root() / OLD_MLFLOW
    return old if old.exists() else main_root() / MLFLOW


def sqlite_uri(path: Path) -> str:
    """Return the address of a sqlite file; SQLAlchemy reads `%` and `?` in one as codes.

    For an address that begins with `sqlite:///`, MLflow makes the folder with the quoted name.
    """
    quoted = str(path).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}" if quoted == str(path) else f"sqlite+pysqlite:///{quoted}"


def display_uri() -> str:
    """Return the store's address without user name and password."""
    return without_secrets(uri())


def is_server(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def artifact_location(experiment: str) -> str | None:
    """Return the folder for a new experiment's files; None: the server chooses. The default would be ./mlruns."""
    if is_server(uri()):
        return None
    folder = re.sub(r"[^A-Za-z0-9.-]+", "-", experiment.replace("×", "x")).strip("-.") or "dataset"
    return f"{artifact_root()}/{folder}"


def artifact_root() -> str:
    """Return the address of the folder for files: beside a sqlite file, which it is as long-lived as.

    For another database it is MLFLOW_DEFAULT_ARTIFACT_ROOT, or in the project.
    """
    file = database()
    if file is None and (given := os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT")):
        return given.rstrip("/")
    return ((file.parent if file else main_root()) / ARTIFACTS).as_uri()


def prepare_environment() -> None:
    """Set MLflow's variables for this process and its children, except those that the user has set."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not any(name.startswith(POOL) for name in os.environ):
        # Open connections would go on writing to a store that was moved or deleted meanwhile.
        os.environ[f"{POOL}CLASS"] = "NullPool"
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
        file = database()
        lock = file.with_name(f"{file.name}.lock") if file else main_root() / "build" / "mlflow.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=LOCK_WAIT_S):
            if file:
                _check(file)
            with _mlflow_errors():
                if file and not file.exists():
                    _initialise(file)
                yield _client(uri())
    except Timeout:
        raise StoreError(f"another process has held {lock} for {LOCK_WAIT_S:.0f} s") from None
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
        raise _explained(error) from error


def _explained(error: Exception) -> StoreError:
    """Return the error; for a database of another MLflow it names the remedy, with the address that MLflow's lacks."""
    import mlflow

    found = OLD_SCHEMA.search(str(error))
    if found is None:
        return StoreError(_one_line(error))
    revision, place = found[1], shlex.quote(uri())
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    if not list(migrations.glob(f"{revision}_*.py")):
        remedy = "install the MLflow that wrote it, or move the store away and run `ganealogy sync`"
        return StoreError(f"its schema ({revision}) is of a newer MLflow than {mlflow.__version__}", remedy)
    if place != shlex.quote(display_uri()):  # a password in it
        place = f'"${ADDRESS}"'
    return StoreError(
        f"its schema ({revision}) is of an older MLflow than {mlflow.__version__}",
        f"make a backup of it, run `mlflow db upgrade {place}`, then `ganealogy sync`",
    )


def database() -> Path | None:
    """Return the absolute path of the store's sqlite file; None for a server or another database."""
    found = SQLITE.match(uri())
    return Path(unquote(found[1])).resolve() if found else None


def _check(database: Path) -> None:
    """Fail in seconds on a locked, damaged or read-only file; MLflow would wait 20 s per call.

    Raises: sqlite3.Error.
    """
    if not database.exists():
        return
    connection = sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=BUSY_WAIT_S)
    try:
        connection.execute("BEGIN IMMEDIATE")
        _follow_move(connection, database.parent)
        connection.commit()
    finally:
        connection.close()


def _follow_move(connection: sqlite3.Connection, folder: Path) -> None:
    """Update the absolute addresses of files in the database after its `folder` was moved or copied.

    An address is updated where the files are beside the database.
    """
    try:
        addresses = [row[0] for row in connection.execute("SELECT artifact_location FROM experiments") if row[0]]
    except sqlite3.OperationalError:  # no MLflow database yet
        return
    for suffix, beside in ((f"/{ARTIFACTS}/", ARTIFACTS), (OLD_ARTIFACTS, "artifacts")):
        here = f"{(folder / beside).as_uri()}/"
        if not here.endswith(suffix) or not (folder / beside).is_dir():
            continue
        split = [text.rpartition(suffix) for text in addresses if text.startswith("file:") and suffix in text]
        moved = {f"{old}{suffix}" for old, _, rest in split if (folder / beside / unquote(rest)).is_dir()}
        for old in moved - {here}:
            for table, column in ADDRESS_COLUMNS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (here, len(old) + 1, len(old), old),
                )
            where = unquote(old.removeprefix("file://").removesuffix(suffix))
            print(f"MLflow: the project was at {where}; its store is updated", file=sys.stderr)


def _initialise(database: Path) -> None:
    """Create the store under a temporary name and rename it, so that a kill cannot leave it half-migrated.

    Call under the lock: two processes that create an MLflow database at the same time break it for good.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for leftover in database.parent.glob(f"{database.name}.*.new*"):
        leftover.unlink()
    # A new name each time, because MLflow caches connections by file name.
    fresh = database.with_name(f"{database.name}.{time.time_ns()}.new")
    store = SqlAlchemyStore(sqlite_uri(fresh), artifact_root())  # type: ignore[no-untyped-call]
    store.delete_experiment("0")  # type: ignore[no-untyped-call]  # the UI would show an empty "Default" first
    store.engine.dispose()
    if database.exists():  # `mlflow ui` made it meanwhile
        fresh.unlink()
    else:
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
    from sqlalchemy import create_engine

    if not is_server(address) and database() is None:
        create_engine(address).connect().close()  # MLflow tries for two minutes to reach a database
    return mlflow.MlflowClient(address)


def _one_line(error: BaseException) -> str:
    """Return the text of the innermost cause on one line: the wrapping errors are longer and less specific."""
    while error.__cause__ is not None:
        error = error.__cause__
    return without_secrets(" ".join(str(error).split())) or type(error).__name__
