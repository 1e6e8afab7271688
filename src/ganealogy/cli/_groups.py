"""A click group whose help lists the commands in sections."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

import click

from ganealogy.errors import GanealogyError
from ganealogy.workspace import PARAMS, TREE

SECTIONS = {
    "Begin": ("init",),
    "Stages (run by `dvc repro`)": (
        "inputs",
        "plan",
        "download",
        "preprocess",
        "reference",
        "train",
        "sample",
        "evaluate",
        "report",
    ),
    "Versions": ("tree", "show", "diff", "new", "ablate", "check", "use"),
    "Results": (
        "summary",
        "judge",
        "conclude",
        "seeds",
        "settle",
        "noise",
        "calibrate",
        "measure",
        "generate",
        "export",
        "live",
        "ui",
        "sync",
    ),
    "Maintenance": ("doctor", "fetch", "repro", "gc"),
}

ANYWHERE = ("init", "tree", "show", "diff", "calibrate", "measure", "generate", "doctor", "fetch")
"""Commands that need no project; the others say so instead of missing one file or another."""


def in_project(command: click.Command) -> click.Command:
    """Return the command, which checks first that it runs in a project's folder.

    Raises, when it runs: GanealogyError.
    """
    if command.name in ANYWHERE:
        return command
    assert command.callback is not None
    work = command.callback

    @functools.wraps(work)
    def checked(*arguments: object, **options: object) -> object:
        if not (PARAMS.exists() or TREE.exists()):
            raise GanealogyError(f"{Path.cwd()}: no project, as it has no {PARAMS}; {_way_to_one()}")
        return work(*arguments, **options)

    command.callback = checked
    return command


def _way_to_one() -> str:
    for folder in Path.cwd().parents:
        if (folder / PARAMS).exists() and (folder / "dvc.yaml").exists():
            return f"type `cd {shlex.quote(str(folder))}`"
    return "`cd` into one, or make one: `ganealogy init faces --pictures FOLDER`"


class SectionedGroup(click.Group):
    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(context) if name not in listed)
        for title, names in {**SECTIONS, "Other": others}.items():
            commands = [(name, command) for name in names if (command := self.get_command(context, name))]
            rows = [(name, command.get_short_help_str(100)) for name, command in commands if not command.hidden]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
