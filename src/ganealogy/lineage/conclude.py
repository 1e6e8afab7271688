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

    `words`: None keeps those that are there. `numbers`: the digest of the numbers that they are about.

    Raises: GanealogyError for an unknown version, one whose file is not the project's, or without words.
    """
    file = read_family([name])[name].file  # raises for an unknown or faulty version
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise GanealogyError(
            f"{name} comes with Ganealogy and has no file in {folder}/; to have its copy there, for which nothing "
            f"is trained anew, type: cp {path_of(name)} {path}"
        )
    if words is None and file.conclusion is None:
        raise GanealogyError(f'{path}: no conclusion yet; type `ganealogy conclude {name} "TEXT"`')
    text = file.conclusion.text if words is None and file.conclusion else words

    def change(content: Any) -> None:
        content["conclusion"] = {"text": text, "numbers": numbers}

    edit.rewrite(path, change, VersionFile)
    return path
