"""Checkpoints on the DVC remote, so that a training whose node died goes on elsewhere from its last one.

Run in a clone as `python -m ganealogy.cluster.checkpoint_sync fetch|follow|forget REMOTE KEY`. Files are sent in this
order: the run files, a checkpoint's tensors, its JSON. The JSON is what makes a checkpoint (`training/checkpoint.py`),
so a checkpoint on the remote is never ahead of its run files.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ganealogy.cluster import dvc_remote
from ganealogy.runtime.process import die_with_parent
from ganealogy.workspace import work_dir

EVERY_S = 2.0


class Mirror:
    """One training's folder of work in progress, here and on the remote."""

    def __init__(self, root: Path, remote: str, key: str) -> None:
        self.fs, base = dvc_remote.file_system(root, remote)
        self.here = work_dir(key, root)
        self.there = self.fs.join(base, dvc_remote.WORK, self.here.name)
        self.sent: dict[str, tuple[int, int]] = {}
        self.newest: str | None = None

    def fetch(self) -> None:
        """Bring what the remote has, except where work of our own stands already."""
        if (self.here / "checkpoints").is_dir() or not self.fs.exists(self.there):
            return
        for path in sorted(self.fs.find(self.there)):
            target = self.here / self.fs.relpath(path, self.there)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(path, str(target))

    def send(self) -> None:
        """Send what is new, once there is a new checkpoint; what is no more here goes there too."""
        checkpoints = sorted((self.here / "checkpoints").glob("*.json"))
        if not checkpoints or checkpoints[-1].name == self.newest:
            return
        record = [path for path in sorted((self.here / "train").rglob("*")) if path.is_file()]
        tensors = [path.with_suffix(".safetensors") for path in checkpoints]
        for path in (*record, *tensors, *checkpoints):
            self._send(path)
        self.newest = checkpoints[-1].name
        kept = {path.name for path in (*tensors, *checkpoints)}
        for path in sorted(self.fs.find(self.fs.join(self.there, "checkpoints")), reverse=True):
            if self.fs.name(path) not in kept:
                self.fs.remove(path)

    def forget(self) -> None:
        if self.fs.exists(self.there):
            self.fs.remove(list(self.fs.find(self.there)))
            if getattr(self.fs, "protocol", "") == "local":
                self.fs.fs.rm(self.there, recursive=True)

    def _send(self, path: Path) -> None:
        name = path.relative_to(self.here).as_posix()
        if path.name.startswith("."):
            return  # being written
        try:
            stand = path.stat()
            if self.sent.get(name) != (stand.st_mtime_ns, stand.st_size):
                target = self.fs.join(self.there, *name.split("/"))
                self.fs.makedirs(self.fs.parent(target), exist_ok=True)
                self.fs.put_file(str(path), target)
                self.sent[name] = (stand.st_mtime_ns, stand.st_size)
        except FileNotFoundError:
            return  # a newer one took its place, or the training handed over


def follow(mirror: Mirror) -> None:
    """Send until SIGTERM, and once more then; trouble with the storage costs a line, never the training."""
    die_with_parent()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    last = False
    while not last:
        last = ended.wait(EVERY_S)
        try:
            mirror.send()
        except Exception as error:  # whatever a storage client throws
            print(f"checkpoints: not sent this time: {error}", file=sys.stderr)


def main(verb: str, remote: str, key: str) -> None:
    mirror: Any = Mirror(Path().resolve(), remote, key)
    {"fetch": mirror.fetch, "follow": lambda: follow(mirror), "forget": mirror.forget}[verb]()


if __name__ == "__main__":
    main(*sys.argv[1:])
