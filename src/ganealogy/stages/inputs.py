"""The inputs stage: digests of what the other stages read and DVC does not see, into data/inputs.json.

These are your own pictures, a mirror's files, weights that no package contains, the package itself where it is
installed outside the project, the project's own components, and the record of `ganealogy noise`, which the report
shows. The stage always runs; it is quick, because only files with a new size or time are read. Later stages depend on
the part that they use. The record is in git, so that a machine without the pictures keeps their digest, and nothing
runs again there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.data import fetch
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.records import RecordError, read_record
from ganealogy.lineage import fingerprint
from ganealogy.params import schema
from ganealogy.params.schema import Settings
from ganealogy.runtime import process
from ganealogy.stages import _experiment
from ganealogy.workspace import INPUTS, KNOWN_FILES, NOISE, WEIGHTS, main_root

COMPONENTS = Path("components")


def run() -> dict[str, Any]:
    """Write the record, and return it. A part whose files are not on this machine keeps its digest.

    Raises: GanealogyError when params.yaml is wrong or a file cannot be read.
    """
    settings = schema.load()
    if note := _experiment.note(settings):
        process.warn(note)
    before = _read(INPUTS)
    known = _KnownFiles(main_root() / KNOWN_FILES)
    record = {
        "pictures": _pictures(settings, before.get("pictures"), known),
        "mirror": _mirror(settings, before.get("mirror")),
        "weights": _weights(settings, before.get("weights"), known),
        "package": _package(),
        "components": _digest(COMPONENTS.rglob("*.py"), COMPONENTS, known) if COMPONENTS.is_dir() else None,
        "noise": known.sha256(NOISE) if NOISE.is_file() else None,
    }
    with process.explain_full_disk(INPUTS):
        if record != before:
            atomic.write_json(INPUTS, record)
        known.save()
    return record


def _pictures(settings: Settings, before: Any, known: _KnownFiles) -> dict[str, Any] | None:
    """Return path, number and digest of the user's own pictures; None for a public data set."""
    source = components.load("data.sources", settings.dataset.name, "dataset.name")
    if not hasattr(source, "files"):
        return None
    path = settings.dataset.path
    try:
        files = source.files(path)
    except GanealogyError as error:
        if before and before["path"] == path:
            print(f"ganealogy: {error}; the record in {INPUTS} stays", file=sys.stderr)
            return dict(before)
        raise
    return {"path": path, "files": len(files), "sha256": atomic.digest([[name, known.sha256(p)] for name, p in files])}


def _mirror(settings: Settings, before: Any) -> Any:
    """Return name → size of the mirror's files; their content is checked when they are copied."""
    if settings.dataset.mirror is None:
        return None
    try:
        folder = fetch.mirror(settings.dataset.mirror)
    except GanealogyError as error:
        if before:
            print(f"ganealogy: {error}; the record in {INPUTS} stays", file=sys.stderr)
            return before
        raise
    return {path.name: path.stat().st_size for path in sorted((folder or Path()).iterdir()) if path.is_file()}


def _weights(settings: Settings, before: Any, known: _KnownFiles) -> dict[str, str]:
    """Return file → sha256 of the weights in build/weights that the named extractors use."""
    found = {}
    for name in sorted({settings.train.tracker, *settings.evaluate.extractors}):
        components.require("evaluation.extractors", name, "evaluate.extractors")
        file = components.module_constants("evaluation.extractors", name).get("FILE") or f"{name}.safetensors"
        path = main_root() / WEIGHTS / str(file)
        if path.is_file():
            found[path.name] = known.sha256(path)
        elif isinstance(before, dict) and path.name in before:
            found[path.name] = before[path.name]
    return found


def _package() -> str | None:
    """Return the digest of the installed package; None in a checkout, where DVC and git see it."""
    source = fingerprint.SOURCE
    if Path.cwd().resolve() in source.resolve().parents:
        return None
    return atomic.digest([[path.relative_to(source).as_posix(), atomic.sha256(path)] for path in _code(source)])


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
    """Hashes of files, kept by size and modification time."""

    def __init__(self, path: Path) -> None:
        self.path, self.before, self.now = path, _read(path), dict[str, list[Any]]()

    def sha256(self, file: Path) -> str:
        """Raises: GanealogyError if the file cannot be read."""
        try:
            status = file.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            entry = self.before.get(str(file.absolute()))
            if not (isinstance(entry, list) and entry[:2] == stamp):
                entry = [*stamp, atomic.sha256(file)]
        except OSError as error:
            reason = error.strerror or error
            raise GanealogyError(f"{file}: cannot be read ({reason}); fix its permissions or move it") from None
        self.now[str(file.absolute())] = entry
        return str(entry[2])

    def save(self) -> None:
        if self.now != self.before:
            atomic.write_json(self.path, self.now)
