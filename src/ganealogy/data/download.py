"""The download stage: one source's archives into data/raw, as they come, with a note of what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.data import fetch
from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import sha256, write_json

KIND = "data.sources"


def download(settings: dict[str, Any], raw: Path) -> None:
    """Bring the archives of `settings["name"]` to `raw` and describe them in source.json, which comes last.

    `settings` is the `dataset` section of params.yaml.

    Raises: GanealogyError when the source cannot be had; it says what to do.
    """
    source = components.load(KIND, settings["name"], "dataset.name")
    credit = source.credit(settings)
    mirror = fetch.mirror(settings.get("mirror"))
    with writable(raw):
        raw.mkdir(parents=True, exist_ok=True)
        (raw / "source.json").unlink(missing_ok=True)  # until all is here, nothing is claimed
        names = source.fetch(settings, raw, mirror)
        files = {name: {"bytes": (raw / name).stat().st_size, "sha256": sha256(raw / name)} for name in names}
        write_json(raw / "source.json", {"source": settings["name"], **credit, "files": files})


@contextmanager
def writable(directory: Path) -> Iterator[None]:
    """A full disk or a forbidden directory becomes one line that names the place. Raises: GanealogyError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise GanealogyError(f"{error.filename or directory}: {reason}; make room or mend it, and run again") from error


def inputs(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of the `dataset` section that a download depends on: a change elsewhere must not fetch or draw again.

    For a folder, also a digest of what lies in it. Raises: GanealogyError when the folder is absent.
    """
    source = components.load(KIND, settings["name"], "dataset.name")
    relevant = {key: settings.get(key) for key in ("name", *source.INPUTS)}
    if hasattr(source, "listing"):
        relevant["listing"] = source.listing(settings["path"])
    return relevant
