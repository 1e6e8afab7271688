"""The DVC remote, through which data and results travel: found, tried, and written down for a clone elsewhere.

Without one and on one machine the workspace's own cache serves: a clone that uses it as its cache leaves its results
where the workspace finds them, and nothing is copied.
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

DEADLINE_S = 10.0
NODE_CACHE = "the,node's,cache"
"""Stands in a clone's configuration where the node puts its own path; its commas have it written in quotes."""
WORK = "wip"
"""Below the remote: checkpoints of trainings that are under way, by run key."""


@dataclass(frozen=True)
class Storage:
    name: str | None
    """The remote's name in .dvc/config; None where the workspace's cache serves."""
    shown: str
    config: str
    """A clone's .dvc/config.local, with `NODE_CACHE` for the cache's path."""
    cache: str | None
    """The cache that clones share with the workspace; None where each node has its own."""


def find(root: Path, alone: bool) -> Storage:
    """`alone`: this machine is the whole cluster.

    Raises: GanealogyError when several machines have no remote in common, or the remote cannot be written.
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        if name is None:
            if not alone:
                raise GanealogyError(
                    "a cluster needs a DVC remote that every node can reach: dvc remote add -d store ADDRESS"
                )
            return Storage(None, "this workspace's cache", _configuration(None, {}), str(repo.cache.legacy.path))
        if name not in repo.config["remote"]:
            raise GanealogyError(f".dvc/config: core.remote is {name!r}, and there is no such remote: dvc remote list")
        settings = {key: str(value) for key, value in repo.config["remote"][name].items() if value is not None}
    _try(root, name, settings["url"])
    return Storage(name, settings["url"], _configuration(name, settings), None)


def file_system(root: Path, name: str) -> tuple[Any, str]:
    """The remote's file system, with DVC's credentials, and where in it the remote begins."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        remote = repo.cloud.get_remote(name)
        return remote.fs, remote.path


def _try(root: Path, name: str, url: str) -> None:
    def write() -> None:
        fs, path = file_system(root, name)
        probe = fs.join(path, f".ganealogy-{uuid.uuid4().hex}")
        fs.makedirs(path, exist_ok=True)
        fs.upload_fobj(io.BytesIO(b"writable"), probe)
        fs.remove(probe)

    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        pool.submit(write).result(DEADLINE_S)
    except TimeoutError:
        raise GanealogyError(f"DVC remote {name} ({url}): no answer within {DEADLINE_S:g} s") from None
    except Exception as error:  # whatever a storage client throws
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GanealogyError(f"DVC remote {name} ({url}): cannot be written: {detail}") from None
    finally:
        pool.shutdown(wait=False)


def _configuration(name: str | None, settings: dict[str, str]) -> str:
    from configobj import ConfigObj  # type: ignore[import-untyped]

    # Links, not copies: what a node has fetched once costs its other clones no space.
    sections: dict[str, Any] = {"cache": {"dir": NODE_CACHE, "type": "reflink,hardlink,symlink,copy"}}
    if name is not None:
        sections = {"core": {"remote": name}, f'remote "{name}"': settings, **sections}
    return "\n".join(ConfigObj(sections, interpolation=False).write())
