"""Each message of the store names a remedy: the fault before, the remedy as it is typed, the fault gone after."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ganealogy import tracking
from ganealogy.errors import GanealogyError
from ganealogy.workspace import RunDir, run_dir


def warning_of(run: RunDir) -> str:
    result = tracking.sync(run)
    assert result.warning is not None
    return result.warning


def type_in(command: str) -> None:
    """Run a command as a person types it, in the working directory."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", command], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore:Query string argument")
@pytest.mark.parametrize("where", ["a project", "it's 100%", "variable"])
def test_a_store_of_an_older_mlflow_is_upgraded_by_the_command_in_the_message(
    finished: RunDir, project: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.store.db.utils as database
    from alembic import command

    if where == "variable":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}?password=s3cret")
    elif where != project.name:
        project = project.rename(project.with_name(where))
        finished = run_dir("v3", 1, project)
        monkeypatch.chdir(project)
    engine = database.create_sqlalchemy_engine_with_retry("sqlite:///mlflow.db")
    config = database._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    engine.dispose()
    # MLflow migrates a store that lacks a table, and refuses one that lacks only a column: let this be one.
    monkeypatch.setattr(database, "_all_tables_exist", lambda engine: True)
    warning = warning_of(finished)
    assert "is of an older MLflow than" in warning and "..." not in warning and "s3cret" not in warning
    typed = warning.split("`")[1]
    assert typed.startswith("mlflow db upgrade ")
    if where == "variable":
        assert typed.endswith('"$MLFLOW_TRACKING_URI"')
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}")
    type_in(typed)
    assert tracking.sync(finished).warning is None


@pytest.mark.parametrize("fault", ["newer", "no database", "zeros"])
def test_a_store_that_cannot_be_used_is_moved_away_and_filled_again(
    finished: RunDir, project: Path, fault: str
) -> None:
    database = project / "mlflow.db"
    if fault == "newer":
        connection = sqlite3.connect(database)
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        connection.commit()
        connection.close()
    else:
        database.write_bytes(b"no database at all" * 100 if fault == "no database" else bytes(8192))
    with pytest.raises(GanealogyError, match="away and run `ganealogy sync`"):
        tracking.ui(5999)
    if fault == "newer":
        assert "is of a newer MLflow than" in warning_of(finished)
    database.rename(project / "away.db")
    result = tracking.sync(finished)
    assert result.warning is None and result.run_id is not None
    assert (project / "away.db").exists()


def test_the_whole_reason_is_in_the_warning(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*args: object, **kwargs: object) -> None:
        raise MlflowException("a long story\n" + "and more " * 60 + "\nand its end, at http://me:s3cret@server")

    monkeypatch.setattr(MlflowClient, "create_run", fail)
    warning = warning_of(finished)
    assert "a long story and more" in warning and "and its end, at http://server" in warning
    assert "s3cret" not in warning and len(warning.splitlines()) == 1


@pytest.mark.parametrize(("fault", "code"), [("none", 0), ("no server", 2), ("damaged store", 2), ("damaged run", 2)])
def test_the_exit_code_of_sync_says_whether_all_is_posted(
    finished: RunDir, fault: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from ganealogy.cli.main import cli

    if fault == "no server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    elif fault == "damaged store":
        Path("mlflow.db").write_bytes(b"no database at all" * 100)
    elif fault == "damaged run":
        (finished / "train/metrics.jsonl").write_text("{\n")
    assert CliRunner().invoke(cli, ["sync"]).exit_code == code
    assert "The exit code is 0 if all is posted" in CliRunner().invoke(cli, ["sync", "--help"]).output


def test_two_stores_get_every_run_each(finished: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy("mlflow.db", tmp_path / "other.db")
    first = tracking.sync(finished)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    second = tracking.sync(finished)
    assert first.posted == second.posted and first.run_id != second.run_id
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert sum(tracking.sync(finished).posted.values()) == 0
    assert list((tmp_path / "mlartifacts").rglob("recipe.yaml"))


@pytest.mark.parametrize("how", ["moved", "deleted", "restored"])
def test_a_store_that_is_replaced_between_two_syncs_of_a_process(
    finished: RunDir, project: Path, fresh_store: Path, how: str
) -> None:
    """A long training posts every few seconds; open connections still wrote to the file that was there before."""
    assert tracking.sync(finished).warning is None
    database = project / "mlflow.db"
    database.rename(project / "away.db") if how == "moved" else database.unlink()
    if how == "restored":
        shutil.copy(fresh_store, database)
    result = tracking.sync(finished)
    assert result.warning is None and result.posted["metrics"] > 0
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    connection.close()
