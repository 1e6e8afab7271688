"""Write a project: a folder with dvc.yaml, params.yaml, and places for its own versions and components."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from string import Template
from typing import Any

from ruamel.yaml import YAML

from ganealogy.components import KINDS
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.workspace import COMPONENTS, PARAMS, SHIPPED, VERSIONS

TEMPLATES = Path(__file__).parent / "templates"
PIPELINE = Path("dvc.yaml")
README = Path("README.md")
IGNORED = (Path(".gitignore"), Path(".dvcignore"))
FILES = (PARAMS, PIPELINE, README, VERSIONS / README, COMPONENTS / README, *IGNORED)
"""What `create` writes."""
HEADER = "# The pipeline: `dvc repro` runs what changed.\n\n"


def create(folder: Path, params: str, title: str) -> list[Path]:
    """Write the project's files, and make the folder a git repository and a DVC project where it is none.

    `params`: the text of params.yaml. Return the written files.

    Raises: GanealogyError if one of the files exists, or git or DVC fail.
    """
    kinds = "\n".join(f"- `{kind.replace('.', '/')}/`" for kind in KINDS)
    texts = {
        PARAMS: params,
        PIPELINE: pipeline((SHIPPED / PIPELINE).read_text("utf-8")),
        README: _template("README.md", title=title),
        VERSIONS / README: _template("versions.md"),
        COMPONENTS / README: _template("components.md", kinds=kinds),
        **{name: (SHIPPED / name).read_text("utf-8") for name in IGNORED},
    }
    refuse_existing(folder)
    for name, text in texts.items():
        atomic.write_text(folder / name, text)
    _repositories(folder)
    return list(texts)


def refuse_existing(folder: Path) -> None:
    """Raises: GanealogyError if the folder has one of FILES."""
    for name in FILES:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise GanealogyError(f"{folder / name} exists: name a new folder, or move that file")


def pipeline(reference: str) -> str:
    """Return the dvc.yaml of a project, from that of a checkout: its stages run the installed package."""
    stages = reference[reference.index("stages:\n") :]
    return HEADER + stages.replace("python src/ganealogy", "ganealogy").replace(
        "- src/ganealogy\n", f"- {COMPONENTS}\n"
    )


def params(preset: str, values: dict[str, Any], reasons: dict[str, str], about: str) -> str:
    """Return the text of params.yaml: a preset's with other values, and their reasons as comments.

    `values`, `reasons`: by dotted key. `about`: its first line.
    """
    round_trip = YAML()  # comments, order and quotes stay
    round_trip.width = 120
    content = round_trip.load(preset)
    for key, value in values.items():
        section, name = key.split(".")
        if isinstance(content[section].get(name), list):
            content[section][name][:] = value  # keeps it on one line
        else:
            content[section][name] = value
    for key, reason in reasons.items():
        section, name = key.split(".")
        content[section].yaml_add_eol_comment(reason, name)
    content.yaml_set_start_comment(about)
    stream = StringIO()
    round_trip.dump(content, stream)
    return stream.getvalue()


def _template(name: str, **values: str) -> str:
    return Template((TEMPLATES / name).read_text("utf-8")).substitute(values)


def _repositories(folder: Path) -> None:
    """Raises: GanealogyError when git or DVC fail."""
    top = _run(["git", "rev-parse", "--show-toplevel"], folder)
    if top is None:
        if _run(["git", "init", "--quiet"], folder) is None:
            raise GanealogyError(
                f"{folder}: no git, which DVC needs: install it, type `git init` there, and `dvc init`"
            )
        top = str(folder.resolve())
    if not (folder / ".dvc").exists():
        subdir = [] if Path(top).resolve() == folder.resolve() else ["--subdir"]
        if _run([sys.executable, "-m", "dvc", "init", "--quiet", *subdir], folder) is None:
            command = " ".join(["dvc init", *subdir])
            raise GanealogyError(f"{folder}: `{command}` failed; type it there to see why")


def _run(command: list[str], folder: Path) -> str | None:
    """Return what a command prints; None when it fails or is absent."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
