"""The inputs stage: digests of what the other stages read and DVC does not see, into data/inputs.json.

These are your own pictures, their classes, a mirror's files, weights that no package contains, the package itself where
it is installed outside the project, the project's own components, and the record of `ganealogy noise`, which the report
shows. The stage always runs; it is quick, because only files with a new size, time or inode are read. Later stages
depend on the part that they use. The record is in git, so that a machine without the pictures keeps their digest, and
nothing runs again there.

Inception's weights, where params.yaml names it and they are absent, are fetched here: DVC then sees them as an input.

It also looks before DVC empties the outputs of a stage: a file of the user's among them is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.data import fetch, user_files
from ganealogy.data.names import printable_name
from ganealogy.data.sources.folder import NoPicturesError
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.records import RecordError, read_record
from ganealogy.lineage import fingerprint
from ganealogy.params import schema
from ganealogy.params.schema import Settings
from ganealogy.runtime import process
from ganealogy.stages import _experiment, _weights
from ganealogy.workspace import COMPONENTS, INPUTS, KNOWN_FILES, NOISE, SHIPPED, VERSIONS, main_root


def run() -> dict[str, Any]:
    """Write the record, and return it. A part whose files are not on this machine keeps its digest.

    Raises: GanealogyError when params.yaml is wrong, a file cannot be read, or DVC would delete a file of the user's.
    """
    settings = schema.load()
    check(settings)
    if note := _experiment.note(settings):
        process.warn(note)
    before = _read(INPUTS)
    known = _KnownFiles(main_root() / KNOWN_FILES)
    record = {
        **_pictures(settings, before, known),
        "mirror": _mirror(settings, before.get("mirror"), known),
        "weights": _weights.digests(settings, before.get("weights"), known.sha256),
        "package": _package(),
        "own_components": _digest(COMPONENTS.rglob("*.py"), COMPONENTS, known) if COMPONENTS.is_dir() else None,
        "noise": known.sha256(NOISE) if NOISE.is_file() else None,
    }
    with process.explain_full_disk(INPUTS):
        if record != before:
            atomic.write_json(INPUTS, record)
        known.save()
    return record


def check(settings: Settings) -> None:
    """Raises: GanealogyError when DVC would delete a file of the user's, now or by a path that they set."""
    source = components.load("data.sources", settings.dataset.name, "dataset.name")
    with suppress(fetch.NoMirrorError):  # the record may stand for it, and for pictures
        fetch.mirror(settings.dataset.mirror)
    with suppress(NoPicturesError):
        if hasattr(source, "existing"):
            source.existing(settings.dataset.path)
    user_files.check_outputs()


def classes(settings: Settings) -> int:
    """Return the number of classes of the data set; 0 when it has no labels.

    Raises: GanealogyError when the user's own pictures are needed for it and are not here, nor in the record.
    """
    source = components.load("data.sources", settings.dataset.name, "dataset.name")
    if not hasattr(source, "classes"):
        return int(getattr(source, "CLASSES", 0))
    try:
        return int(source.classes(source.files(settings.dataset.path)))
    except NoPicturesError:
        before = _read(INPUTS)
        if (before.get("pictures") or {}).get("path") != settings.dataset.path:
            raise
        return int(before.get("classes") or 0)


def _pictures(settings: Settings, before: dict[str, Any], known: _KnownFiles) -> dict[str, Any]:
    """Return path, number and digest of the user's own pictures, and their classes; None for a public data set."""
    source = components.load("data.sources", settings.dataset.name, "dataset.name")
    if not hasattr(source, "files"):
        return {"pictures": None, "classes": None}
    path, recorded = settings.dataset.path, before.get("pictures") or {}
    try:
        files = source.files(path)
        sha256 = atomic.digest([[name, known.sha256(file)] for name, file in files])
        if sha256 == recorded.get("sha256") and "classes" in before:
            number = before["classes"]  # counting those of an archive reads it
        else:
            number = source.classes(files) if hasattr(source, "classes") else None
    except NoPicturesError as error:
        if recorded.get("path") == path:
            print(f"ganealogy: {error}; the record in {INPUTS} stays", file=sys.stderr)
            return {"pictures": recorded, "classes": before.get("classes")}
        raise
    return {"pictures": {"path": path, "files": len(files), "sha256": sha256}, "classes": number}


def _mirror(settings: Settings, before: Any, known: _KnownFiles) -> Any:
    """Return name → sha256 of the mirror's files that the data source uses.

    A machine without the mirror keeps the record: the same files, or the network's, are the same data.
    """
    source = components.load("data.sources", settings.dataset.name, "dataset.name")
    names = getattr(source, "ARCHIVES", None)
    kept = {name: digest for name, digest in (before or {}).items() if names is None or name in names} or None
    try:
        folder = fetch.mirror(settings.dataset.mirror)
    except fetch.NoMirrorError as error:
        if kept:
            print(f"ganealogy: {error}; the record in {INPUTS} stays", file=sys.stderr)
            return kept
        raise
    if folder is None or hasattr(source, "files"):
        return kept
    if names is None:
        names = sorted(path.name for path in folder.iterdir())
    found = {name: fetch.in_mirror(folder, name, f"{settings.dataset.name}/{name}") for name in names}
    return {name: known.sha256(path) for name, path in found.items() if path} or kept


def _package() -> str | None:
    """Return the digest of the installed package; None in a checkout, where DVC and git see it."""
    source = fingerprint.SOURCE
    if Path.cwd().resolve() in source.resolve().parents:
        return None
    versions = SHIPPED / VERSIONS  # in the package, or in the root of its checkout
    files = [(path, folder) for folder in (source, versions) for path in _code(folder)]
    return atomic.digest([[path.relative_to(folder).as_posix(), atomic.sha256(path)] for path, folder in files])


def _code(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _digest(files: Iterable[Path], folder: Path, known: _KnownFiles) -> str:
    return atomic.digest([[path.relative_to(folder).as_posix(), known.sha256(path)] for path in sorted(files)])


def _read(path: Path) -> dict[str, Any]:
    """Return a record; empty if it is absent or damaged, because the stage writes it anew."""
    try:
        return dict(read_record(path, ""))
    except RecordError:
        return {}


class _KnownFiles:
    """Hashes of files, kept by size, times and inode: programs can restore the modification time, but not ctime."""

    def __init__(self, path: Path) -> None:
        self.path, self.before, self.now = path, _read(path), dict[str, list[Any]]()

    def sha256(self, file: Path) -> str:
        """Raises: GanealogyError if the file cannot be read."""
        name = printable_name(str(file.absolute()))
        try:
            status = file.stat()
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            entry = self.before.get(name)
            if not (isinstance(entry, list) and entry[:-1] == stamp):
                entry = [*stamp, atomic.sha256(file)]
        except OSError as error:
            reason = error.strerror or error
            raise GanealogyError(
                f"{printable_name(str(file))}: cannot be read ({reason}); fix its permissions or move it"
            ) from None
        self.now[name] = entry
        return str(entry[-1])

    def save(self) -> None:
        if self.now != self.before:
            atomic.write_json(self.path, self.now)
