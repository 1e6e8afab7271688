"""Write what the author concluded from a version's numbers into its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.lineage.versions import VersionFile, path_of, read_family
from ganealogy.params import edit
from ganealogy.workspace import VERSIONS


def conclude(name: str, words: str | None, numbers: str, folder: Path = VERSIONS) -> Path:
    """Write `conclusion` into a version's file, whose comments stay. Return the file.

    A version that comes with Ganealogy gets a copy of its file in the project; nothing is trained anew for it.

    `words`: None keeps those that are there. `numbers`: the digest of the numbers that they are about.

    Raises: GanealogyError for an unknown version, or without words.
    """
    file = read_family([name])[name].file  # raises for an unknown or faulty version
    path = folder / f"{name}.yaml"
    if words is None and file.conclusion is None:
        raise GanealogyError(f'{path}: no conclusion yet; type `ganealogy conclude {name} "TEXT"`')
    text = file.conclusion.text if words is None and file.conclusion else words

    def change(content: Any) -> None:
        content["conclusion"] = {"text": text, "numbers": numbers}

    edit.rewrite(path if path.is_file() else path_of(name), change, VersionFile, to=path)
    return path
