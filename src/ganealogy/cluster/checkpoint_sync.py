"""Copy checkpoints to the DVC remote, so that another node can resume a training whose node died.

Run in a clone as `python -m ganealogy.cluster.checkpoint_sync fetch|follow|delete REMOTE KEY`. Upload order: run files,
then a checkpoint's tensors, then its JSON. A checkpoint counts only with its JSON (`training/checkpoint.py`), so no
checkpoint on the remote is newer than its run files.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from ganealogy.cluster import dvc_remote
from ganealogy.runtime.process import die_with_parent
from ganealogy.workspace import work_dir

INTERVAL_S = 2.0


class Mirror:
    """The work directory of one training, local and on the remote."""

    def __init__(self, root: Path, remote: str, key: str) -> None:
        """`remote`: the DVC remote's name; `key`: the run key."""
        self.fs, base = dvc_remote.file_system(root, remote)
        self.local = work_dir(key, root)
        self.remote = self.fs.join(base, dvc_remote.WORK, self.local.name)
        self.sent: dict[str, tuple[int, int]] = {}
        """Relative path → (mtime in ns, size) of the version on the remote."""
        self.newest: str | None = None

    def fetch(self) -> None:
        """Download the remote's files, unless the local directory has checkpoints."""
        if (self.local / "checkpoints").is_dir() or not self.fs.exists(self.remote):
            return
        for path in sorted(self.fs.find(self.remote)):
            target = self.local / self.fs.relpath(path, self.remote)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(path, str(target))

    def send(self) -> None:
        """If there is a new checkpoint, upload changed files and delete the remote's older checkpoints."""
        checkpoints = sorted((self.local / "checkpoints").glob("*.json"))
        if not checkpoints or checkpoints[-1].name == self.newest:
            return
        run_files = [path for path in sorted((self.local / "train").rglob("*")) if path.is_file()]
        tensors = [path.with_suffix(".safetensors") for path in checkpoints]
        for path in (*run_files, *tensors, *checkpoints):
            self._send(path)
        self.newest = checkpoints[-1].name
        current = {path.name for path in (*tensors, *checkpoints)}
        for path in sorted(self.fs.find(self.fs.join(self.remote, "checkpoints")), reverse=True):
            if self.fs.name(path) not in current:
                self.fs.remove(path)

    def delete(self) -> None:
        """Delete the directory on the remote."""
        if self.fs.exists(self.remote):
            self.fs.remove(list(self.fs.find(self.remote)))
            if getattr(self.fs, "protocol", "") == "local":
                self.fs.fs.rm(self.remote, recursive=True)

    def _send(self, path: Path) -> None:
        """Upload one file if its time or size has changed."""
        if path.name.startswith("."):
            return  # temporary file
        name = path.relative_to(self.local).as_posix()
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size)
            if self.sent.get(name) != version:
                target = self.fs.join(self.remote, *name.split("/"))
                self.fs.makedirs(self.fs.parent(target), exist_ok=True)
                self.fs.put_file(str(path), target)
                self.sent[name] = version
        except FileNotFoundError:
            return  # replaced by a newer checkpoint, or moved when the training finished


def follow(mirror: Mirror) -> None:
    """Upload every `INTERVAL_S` seconds until SIGTERM, then once more; a storage error prints one line."""
    die_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    last = False
    while not last:
        last = stop.wait(INTERVAL_S)
        try:
            mirror.send()
        except Exception as error:  # storage clients raise errors of any class
            print(f"checkpoints: upload failed, will be retried: {error}", file=sys.stderr)


def main(verb: str, remote: str, key: str) -> None:
    mirror = Mirror(Path().resolve(), remote, key)
    {"fetch": mirror.fetch, "follow": lambda: follow(mirror), "delete": mirror.delete}[verb]()


if __name__ == "__main__":
    main(*sys.argv[1:])
