"""Find the DVC remote of the workspace, and open its file system, here or on a node without a repository."""

from __future__ import annotations

import concurrent.futures
import io
import logging
import uuid
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError, one_line
from ganealogy.runtime.addresses import without_secrets

TIMEOUT_S = 10.0


def find(root: Path) -> dict[str, Any] | None:
    """Return the settings of the workspace's default remote, after a test write; None if there is none.

    They include its `url` and the credentials: all that a node needs to open it.

    Raises: GanealogyError when it is not defined or cannot be written.
    """
    from dvc.fs import get_fs_config
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        if name is None:
            return None
        if name not in repo.config["remote"]:
            raise GanealogyError(
                f".dvc/config: core.remote is {name!r}, which is not defined; `dvc remote list` shows the remotes"
            )
        found = get_fs_config(repo.config, name=name)
    settings = {key: value for key, value in found.items() if value is not None}
    _check_writable(name, settings)
    return settings


def file_system(settings: dict[str, Any]) -> tuple[Any, str]:
    """Return DVC's file system object for a remote, and the remote's path in it. Needs no repository."""
    from dvc.fs import get_cloud_fs

    kind, config, path = get_cloud_fs({}, **settings)
    return kind(**config), path


def _check_writable(name: str, settings: dict[str, Any]) -> None:
    """Raises: GanealogyError when a small file cannot be written within `TIMEOUT_S` seconds."""

    def write() -> None:
        fs, path = file_system(settings)
        probe = fs.join(path, f".ganealogy-{uuid.uuid4().hex}")
        fs.makedirs(path, exist_ok=True)
        fs.upload_fobj(io.BytesIO(b"writable"), probe)
        fs.remove(probe)

    where, hint = f"DVC remote {name} ({without_secrets(settings['url'])})", "`dvc remote modify` changes its settings"
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        pool.submit(write).result(TIMEOUT_S)
    except TimeoutError:
        raise GanealogyError(f"{where}: no answer within {TIMEOUT_S:g} s; {hint}") from None
    except Exception as error:  # storage clients raise errors of any class
        raise GanealogyError(f"{where}: cannot be written: {without_secrets(one_line(error))}; {hint}") from None
    finally:
        pool.shutdown(wait=False)
