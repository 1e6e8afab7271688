"""Copy checkpoints to the DVC remote, so that another node can resume a training whose node died.

Upload order: run files, then a checkpoint's tensors, then its JSON. A checkpoint counts only with its JSON
(`training/checkpoint.py`), so no checkpoint on the remote is newer than its run files.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ganealogy.cluster.transfer import Remote
from ganealogy.errors import GanealogyError
from ganealogy.workspace import work_dir

FOLDER = "wip"
"""Folder of the remote: unfinished trainings, by run key."""
INTERVAL_S = 2.0


class Mirror:
    """The work directory of one training, local and on the remote."""

    def __init__(self, remote: Remote, key: str) -> None:
        """`key`: the run key."""
        self.remote, self.fs = remote, remote.fs
        self.local = work_dir(key)
        self.place = self.fs.join(remote.base, FOLDER, self.local.name)
        self.sent: dict[str, tuple[int, int]] = {}
        """Relative path → (mtime in ns, size) of the version on the remote."""
        self.newest: str | None = None

    def fetch(self) -> None:
        """Download the remote's files, unless the local directory has checkpoints."""
        if (self.local / "checkpoints").is_dir():
            return
        with self.remote.explained():
            for path in self._files(self.place):
                target = self.local / self.fs.relpath(path, self.place)
                target.parent.mkdir(parents=True, exist_ok=True)
                # A process that is about to end may replace the checkpoint: the training then starts afresh.
                with contextlib.suppress(FileNotFoundError):
                    self.fs.get_file(path, str(target))

    def send(self) -> None:
        """If there is a new checkpoint, upload changed files and delete the remote's older checkpoints."""
        checkpoints = sorted((self.local / "checkpoints").glob("*.json"))
        if not checkpoints or checkpoints[-1].name == self.newest:
            return
        with self.remote.explained():
            run_files = [path for path in sorted((self.local / "train").rglob("*")) if path.is_file()]
            tensors = [path.with_suffix(".safetensors") for path in checkpoints]
            for path in (*run_files, *tensors, *checkpoints):
                self._send(path)
            self.newest = checkpoints[-1].name
            current = {path.name for path in (*tensors, *checkpoints)}
            for old in self._files(self.fs.join(self.place, "checkpoints"))[::-1]:
                if self.fs.name(old) not in current:
                    self.fs.remove(old)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Upload every `INTERVAL_S` seconds during the block, and once at its end. Storage errors print a line."""
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(INTERVAL_S):
                self._try_to_send()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._try_to_send()

    def delete(self) -> None:
        """Delete the directory on the remote."""
        with self.remote.explained():
            if files := self._files(self.place):
                self.fs.remove(files)
            if getattr(self.fs, "protocol", "") == "local" and self.fs.exists(self.place):
                self.fs.fs.rm(self.place, recursive=True)  # other storage has no empty folders

    def _files(self, place: str) -> list[str]:
        self.fs.fs.invalidate_cache()  # listings are cached, and another node writes
        return sorted(self.fs.find(place)) if self.fs.exists(place) else []

    def _try_to_send(self) -> None:
        try:
            self.send()
        except GanealogyError as error:
            print(f"checkpoints: upload failed, will be retried: {error}", file=sys.stderr, flush=True)

    def _send(self, path: Path) -> None:
        """Upload one file if its time or size has changed."""
        if path.name.startswith("."):
            return  # temporary file
        name = path.relative_to(self.local).as_posix()
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size)
            if self.sent.get(name) != version:
                target = self.fs.join(self.place, *name.split("/"))
                self.fs.makedirs(self.fs.parent(target), exist_ok=True)
                self.fs.put_file(str(path), target)
                self.sent[name] = version
        except FileNotFoundError:
            return  # replaced by a newer checkpoint, or moved when the training finished
