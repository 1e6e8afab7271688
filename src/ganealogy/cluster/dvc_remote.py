"""Find the DVC remote that carries data and results between nodes, and write the configuration of a clone that uses it.

On a single machine without a remote, clones share the workspace's cache instead: results appear in the workspace
without a copy.
"""

from __future__ import annotations

import concurrent.futures
import io
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError

TIMEOUT_S = 10.0
CACHE_PLACEHOLDER = "the,node's,cache"
"""Replaced by the cache's path on each node. Its commas make ConfigObj quote the value, as any path needs."""
WORK = "wip"
"""Folder of the remote: checkpoints of unfinished trainings, by run key."""


@dataclass(frozen=True)
class Storage:
    name: str | None
    """The remote's name in .dvc/config; None: the workspace's cache."""
    address: str
    """For people: the remote's URL."""
    config: str
    """.dvc/config.local of a clone, with `CACHE_PLACEHOLDER` for the cache's path."""
    cache: str | None
    """The cache that clones share with the workspace; None: each node has its own."""


def find(root: Path, single_machine: bool) -> Storage:
    """Return the default remote of the workspace, after a test write, or its cache on a single machine.

    Raises: GanealogyError when several machines have no common remote, or the remote cannot be written.
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        if name is None:
            if not single_machine:
                raise GanealogyError(
                    ".dvc/config: no default remote; a cluster needs one that every node can reach: "
                    "dvc remote add -d store ADDRESS"
                )
            return Storage(None, "this workspace's cache", _configuration(None, {}), str(repo.cache.legacy.path))
        if name not in repo.config["remote"]:
            raise GanealogyError(
                f".dvc/config: core.remote is {name!r}, which is not defined; `dvc remote list` shows the remotes"
            )
        settings = {key: str(value) for key, value in repo.config["remote"][name].items() if value is not None}
    _check_writable(root, name, settings["url"])
    return Storage(name, settings["url"], _configuration(name, settings), None)


def file_system(root: Path, name: str) -> tuple[Any, str]:
    """Return the remote's file system, with DVC's credentials, and the remote's path in it."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        remote = repo.cloud.get_remote(name)
        return remote.fs, remote.path


def _check_writable(root: Path, name: str, url: str) -> None:
    """Raises: GanealogyError when a small file cannot be written within `TIMEOUT_S` seconds."""

    def write() -> None:
        fs, path = file_system(root, name)
        probe = fs.join(path, f".ganealogy-{uuid.uuid4().hex}")
        fs.makedirs(path, exist_ok=True)
        fs.upload_fobj(io.BytesIO(b"writable"), probe)
        fs.remove(probe)

    hint = "`dvc remote modify` changes its settings"
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        pool.submit(write).result(TIMEOUT_S)
    except TimeoutError:
        raise GanealogyError(f"DVC remote {name} ({url}): no answer within {TIMEOUT_S:g} s; {hint}") from None
    except Exception as error:  # storage clients raise errors of any class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GanealogyError(f"DVC remote {name} ({url}): cannot be written: {reason}; {hint}") from None
    finally:
        pool.shutdown(wait=False)


def _configuration(name: str | None, settings: dict[str, str]) -> str:
    """Return the text of a clone's .dvc/config.local."""
    from configobj import ConfigObj  # type: ignore[import-untyped]

    # Links before copies: the clones of a node share the disk space of its cache.
    sections: dict[str, Any] = {"cache": {"dir": CACHE_PLACEHOLDER, "type": "reflink,hardlink,symlink,copy"}}
    if name is not None:
        sections = {"core": {"remote": name}, f'remote "{name}"': settings, **sections}
    return "\n".join(ConfigObj(sections, interpolation=False).write())
