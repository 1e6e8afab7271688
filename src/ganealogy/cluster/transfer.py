"""Copy inputs and finished runs to the DVC remote and back.

<remote>/ganealogy/inputs/<digest> is a folder such as data/packed, <remote>/ganealogy/store/<stage>/<key> an entry
of the store. Each has a record with the sha256 of its files, which is uploaded last: what has none is not complete.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from ganealogy.cluster import dvc_remote
from ganealogy.errors import GanealogyError, one_line
from ganealogy.files import atomic
from ganealogy.runs import store
from ganealogy.runs.store import Entry
from ganealogy.runtime.addresses import without_secrets
from ganealogy.stages import _jobs as jobs
from ganealogy.stages._jobs import Job
from ganealogy.workspace import KEY_LENGTH

FOLDER = "ganealogy"
"""Folder of the remote for all that is not DVC's."""
INPUT_RECORD = "files.json"


class Remote:
    """The DVC remote's folder of this project's files. Methods raise GanealogyError when the storage fails."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """`settings`: of `dvc_remote.find`."""
        self.address = without_secrets(str(settings["url"]))
        with self.explained():
            self.fs, path = dvc_remote.file_system(settings)
            self.base = self.fs.join(path, FOLDER)

    def push(self, job: Job) -> None:
        """Upload the job's entries that the local store has and the remote lacks."""
        for entry in jobs.find(job):
            if store.is_intact(entry):
                self._send(entry.path, entry.record["sha256"], store.RECORD, "store", *entry.path.parts[-2:])

    def pull(self, job: Job) -> bool:
        """Download the job's entries that the local store lacks, up to the first that the remote lacks.

        Return whether the local store now has all.
        """
        run = job.run
        for stage in job.stages:
            module = jobs.stage_module(stage)
            key = module.key(module.made_from(job.version, job.seed, run))
            entry = store.find(stage, key) or self.pull_entry(stage, key)
            if entry is None:
                return False
            run = run.with_folder(stage, entry.out)
        return True

    def pull_entry(self, stage: str, key: str) -> Entry | None:
        """Download an entry, check its files, and put it into the store. Return None if the remote lacks it."""
        target = store.place(stage, key)
        copy = target.with_name(f".{target.name}.pull")
        shutil.rmtree(copy, ignore_errors=True)  # of a killed process
        if not self._receive(copy, store.RECORD, "store", stage, target.name):
            return None
        if target.exists():
            shutil.rmtree(copy)  # made here meanwhile
        else:
            copy.rename(target)
        return store.find(stage, key)

    def send_input(self, folder: Path) -> str:
        """Upload a folder if the remote lacks its content. Return its digest."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sums = {path.relative_to(folder).as_posix(): atomic.sha256(path) for path in files}
        digest = atomic.digest(sums)[:KEY_LENGTH]
        self._send(folder, sums, INPUT_RECORD, "inputs", digest)
        return digest

    def fetch_input(self, digest: str, folder: Path) -> Path:
        """Return the folder of an input below `folder`; the first job of a node downloads it, the others wait."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / digest
        with FileLock(folder / f"{digest}.lock"):
            if not target.is_dir():
                part = folder / f"{digest}.part"
                shutil.rmtree(part, ignore_errors=True)
                if not self._receive(part, INPUT_RECORD, "inputs", digest):
                    raise GanealogyError(
                        f"{self.address}: input {digest} is absent or damaged; run `ganealogy repro` again to upload it"
                    )
                part.rename(target)
        return target

    def read(self, *place: str) -> bytes | None:
        """Return the content of a file, or None if there is none."""
        with self.explained():
            try:
                # Not `exists`: some storage clients answer it from a cached listing.
                return bytes(self.fs.cat_file(self.fs.join(self.base, *place)))
            except FileNotFoundError:
                return None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn any error of the storage client into a GanealogyError that names the remote."""
        try:
            yield
        except GanealogyError:
            raise
        except Exception as error:  # storage clients raise errors of any class
            raise GanealogyError(
                f"DVC remote {self.address}: {type(error).__name__}: {without_secrets(one_line(error))}"
            ) from error

    def _send(self, folder: Path, sums: Mapping[str, str], record: str, *place: str) -> None:
        if self.read(*place, record) is not None:
            return
        own = folder / record
        content = own.read_bytes() if own.is_file() else json.dumps({"sha256": sums}).encode()
        with self.explained():
            targets = [self.fs.join(self.base, *place, *name.split("/")) for name in sums]
            for parent in sorted({self.fs.parent(target) for target in targets}):
                self.fs.makedirs(parent, exist_ok=True)
            self.fs.put([str(folder / name) for name in sums], targets)
            self.fs.upload_fobj(io.BytesIO(content), self.fs.join(self.base, *place, record))

    def _receive(self, folder: Path, record: str, *place: str) -> bool:
        """Download into a new folder. Return False if the remote lacks it, or has it damaged.

        The record of a damaged one is removed from the remote, so that it is uploaded again.
        """
        content = self.read(*place, record)
        if content is None:
            return False
        sums = _sums(content)
        folder.mkdir(parents=True)
        with self.explained():
            try:
                if sums is not None:
                    sources = [self.fs.join(self.base, *place, *name.split("/")) for name in sums]
                    self.fs.get(sources, [str(folder / name) for name in sums])
            except FileNotFoundError:
                sums = None
            if sums is None or any(atomic.sha256(folder / name) != expected for name, expected in sums.items()):
                self.fs.remove(self.fs.join(self.base, *place, record))
                shutil.rmtree(folder)
                return False
        (folder / record).write_bytes(content)
        return True


def _sums(record: bytes) -> dict[str, str] | None:
    """Return the path → sha256 of a record; None if it is damaged or names a file outside of its folder."""
    try:
        sums = json.loads(record)["sha256"]
        paths = [PurePosixPath(name) for name in sums]
    except (ValueError, KeyError, TypeError):
        return None
    is_inside = not any(path.is_absolute() or ".." in path.parts for path in paths)
    return sums if isinstance(sums, dict) and is_inside else None
