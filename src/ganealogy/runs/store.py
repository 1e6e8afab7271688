"""The store of finished runs: what a stage made for a version and seed, under the digest of what it was made from.

build/store/<stage>/<key>/ holds `out/` (the stage's output), `cost.json`, `entry.json` with the sha256 of each file,
and for a training `state/`, the last checkpoint. An entry is written beside its place and renamed, so it is complete or
absent, and its files are never written again. All experiments of a workspace share it (`workspace.main_root`).
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from ganealogy.files import atomic
from ganealogy.files.records import RecordError, read_record
from ganealogy.workspace import KEY_LENGTH, RUN_STAGES, STORE, RunDir, main_root

RECORD = "entry.json"
LEFTOVER_S = 3600
"""A process that still writes a folder touches it within this time."""


class EntryJson(TypedDict):
    """entry.json of an entry."""

    stage: str
    run: str
    """Such as v3-0."""
    made_from: dict[str, str]
    """Digests by name: those that the key is made of, with `plan`, the stage's plan, and `run`, the run key.

    Of a training also `without_budget`, the digest of the plan without its budget: see `runs/continuing.py`.
    """
    sha256: dict[str, str]
    """Path in the entry → sha256."""


@dataclass(frozen=True)
class Entry:
    path: Path
    record: EntryJson

    @property
    def out(self) -> Path:
        return self.path / "out"

    @property
    def cost(self) -> Path:
        return self.path / "cost.json"

    @property
    def state(self) -> Path:
        """Folder of the last checkpoint, of a training."""
        return self.path / "state"

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


def place(stage: str, key: str, root: Path | None = None) -> Path:
    """Return the folder of an entry below `root`, the main workspace by default."""
    return (root or main_root()) / STORE / stage / key[:KEY_LENGTH]


def find(stage: str, key: str, root: Path | None = None) -> Entry | None:
    """Return the entry of a key, or None. Its files are checked when they are taken."""
    return _read(place(stage, key, root))


def entries(root: Path | None = None, stages: Iterable[str] = RUN_STAGES) -> Iterator[tuple[str, Entry]]:
    """Yield (stage, entry) of all entries of these stages."""
    for stage in stages:
        for path in sorted(((root or main_root()) / STORE / stage).glob("[!.]*")):
            if (entry := _read(path)) is not None:
                yield stage, entry


def held(version: Path, root: Path | None = None) -> bool:
    """Return whether the store has all results in the folder of a version, such as build/runs/v3; false without any.

    `root`: of the store, the main workspace by default.
    """
    results = [(stage, run) for stage in RUN_STAGES for run in (version / stage).glob("*") if run.is_dir()]
    return bool(results) and all(
        any(
            _is_copy(run, entry)
            for _, entry in entries(root, [stage])
            if entry.record["run"] == f"{version.name}-{run.name}"
        )
        for stage, run in results
    )


def _is_copy(folder: Path, entry: Entry) -> bool:
    """Return whether the folder has the bytes of the entry's output."""
    outputs = {
        name.removeprefix("out/"): sha for name, sha in entry.record["sha256"].items() if name.startswith("out/")
    }
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return names == outputs.keys() and all(atomic.sha256(folder / name) == sha for name, sha in outputs.items())


def leftovers(root: Path | None = None) -> Iterator[Path]:
    """Yield folders that killed processes were writing or removing: nothing in them is newer than an hour."""
    for stage in RUN_STAGES:
        for folder in sorted(((root or main_root()) / STORE / stage).glob(".*")):
            try:
                newest = max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
            except FileNotFoundError:  # a process is renaming or removing it
                continue
            if time.time() - newest > LEFTOVER_S:
                yield folder


def put(
    stage: str,
    key: str,
    name: str,
    out: Path,
    cost: Mapping[str, Any],
    made_from: dict[str, str],
    state: Path | None = None,
    root: Path | None = None,
) -> Entry:
    """Copy a finished output, or link it where the file system can, and return its entry.

    `name`: of the run; `state`: folder of the training's checkpoints. `out` may be removed afterwards, but its files
    must not be written to.
    """
    target = place(stage, key, root)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    for stale in target.parent.glob(f".{target.name}.*.tmp"):  # of a killed process: the caller holds the key's lock
        shutil.rmtree(stale)
    shutil.copytree(out, temporary / "out", copy_function=_link_or_copy)
    atomic.write_json(temporary / "cost.json", cost)
    if state is not None and state.is_dir():
        shutil.copytree(state, temporary / "state", copy_function=_link_or_copy)
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    sums = {path.relative_to(temporary).as_posix(): atomic.sha256(path) for path in files}
    record: EntryJson = {"stage": stage, "run": name, "made_from": made_from, "sha256": sums}
    atomic.write_json(temporary / RECORD, record)
    if target.exists():
        remove(target)
    temporary.replace(target)
    atomic.sync_directory(target.parent)
    return Entry(target, record)


def take(entry: Entry, run: RunDir) -> bool:
    """Copy an entry's output to the run's folder, and its cost. Return False if the entry is damaged; it is removed.

    A copy, not a link: an edit of the workspace's file must not reach the store.
    """
    if not is_intact(entry):
        return False
    stage = entry.record["stage"]
    target = run.folders[stage]
    copy = target.with_name(f".{target.name}.copy.tmp")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(entry.out, copy)
    copy.replace(target)
    for stale in run.costs[stage].parent.glob(f".{run.costs[stage].name}.*.tmp"):  # of a killed process
        stale.unlink()
    atomic.write_bytes(run.costs[stage], entry.cost.read_bytes())
    return True


def is_intact(entry: Entry) -> bool:
    """Check every file; remove the entry and say so if one is damaged."""
    for name, expected in entry.record["sha256"].items():
        path = entry.path / name
        if not path.is_file() or atomic.sha256(path) != expected:
            print(f"ganealogy: {path}: absent or damaged, so {entry.record['run']} is made again", file=sys.stderr)
            remove(entry.path)
            return False
    return True


def remove(path: Path) -> None:
    """Remove an entry; a kill leaves a temporary folder, never a part of an entry."""
    doomed = path.with_name(f".{path.name}.removed.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _read(path: Path) -> Entry | None:
    try:
        return Entry(path, read_record(path / RECORD, "it is made again", kind=EntryJson))
    except RecordError as error:
        if not error.absent:
            print(f"ganealogy: {error}", file=sys.stderr)
            remove(path)
        return None


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link where both are on one file system, which costs no space; neither file is written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
