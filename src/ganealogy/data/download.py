"""Bring one source's archives into data/raw as they are published, and describe them in source.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.data import fetch
from ganealogy.data.sources._base import Source
from ganealogy.files.atomic import sha256, write_json
from ganealogy.record_types import DatasetSettings

KIND = "data.sources"


def download(settings: DatasetSettings, raw: Path) -> None:
    """Download or draw the archives of `settings["name"]` into `raw`, then write source.json.

    `settings` is the `dataset` section of params.yaml.

    Raises: GanealogyError if an archive cannot be fetched.
    """
    source: Source = components.load(KIND, settings["name"], "dataset.name")
    credit = source.credit(settings)
    mirror = fetch.mirror(settings.get("mirror"))
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "source.json").unlink(missing_ok=True)  # it exists only beside a complete download
    names = source.fetch(settings, raw, mirror)
    files = {name: {"bytes": (raw / name).stat().st_size, "sha256": sha256(raw / name)} for name in names}
    write_json(raw / "source.json", {"source": settings["name"], **credit, "files": files})


def inputs(settings: DatasetSettings) -> dict[str, Any]:
    """Return the part of the `dataset` section that the download depends on; other edits must not repeat it."""
    source = components.load(KIND, settings["name"], "dataset.name")
    return {key: settings.get(key) for key in ("name", *source.INPUTS)}
