"""The command that makes the environment anew, where its packages are missing, broken or do not match."""

from __future__ import annotations

import shlex
from pathlib import Path

from ganealogy.workspace import SHIPPED


def command(shipped: Path = SHIPPED) -> str:
    """Return what to type: for a checkout, whose files are in `shipped`, or else for the installed package.

    `make setup` alone finds that all is done, and pip without --force-reinstall finds the versions of broken packages.
    """
    if not (shipped / "Makefile").is_file():
        return "pip install --force-reinstall ganealogy"
    place = "" if shipped.resolve() == Path.cwd() else f"cd {shlex.quote(str(shipped))} && "
    return f"{place}rm -rf .venv && make setup"
