"""A click group whose help lists the commands in sections."""

from __future__ import annotations

import click

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
    "Versions": ("tree", "show", "diff", "new", "check", "use"),
    "Results": (
        "summary",
        "judge",
        "conclude",
        "seeds",
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
