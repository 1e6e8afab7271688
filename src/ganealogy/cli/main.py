"""The command line. Its verbs are in the files beside this one: a function each, which parses, calls and prints."""

from __future__ import annotations

import sys

import click

from ganealogy.cli import project_verbs, result_verbs, stage_verbs, upkeep_verbs, version_verbs
from ganealogy.cli._groups import SectionedGroup, in_project
from ganealogy.runtime import process, streams

DEBUG = "--debug"
EPILOG = """
\b
Exit codes: 0 done (a version that diverges is a result) · 2 an error to fix, on one line · 3 `calibrate`: outside ·
130 stopped by Ctrl-C · 143 by SIGTERM · 129 by a closed terminal · 1 a bug in Ganealogy, with its traceback.
`judge --require`: 0 yes · 1 no · 3 open.
"""


@click.group(
    cls=SectionedGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=EPILOG.strip("\n"),
)
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="ganealogy")
def cli(debug: bool) -> None:
    """Train a family tree of GANs under one protocol, and test which idea helped.

    \b
    dvc repro                      run what changed
    dvc repro train@v3             train version v3, all its seeds
    dvc exp run -S train.lr=1e-4   run the same tree under another protocol

    Settings are in params.yaml, versions in versions/.
    """


for group in (project_verbs, stage_verbs, version_verbs, result_verbs, upkeep_verbs):
    for verb in group.VERBS:
        cli.add_command(in_project(verb))


def main() -> None:
    """Run the verb on the command line. Exits with a code of EPILOG."""
    process.raise_on_stop()
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]  # accepted before and after the verb

    @streams.for_show()
    def run() -> None:
        try:
            code = cli.main(arguments, standalone_mode=False)
        except click.ClickException as error:  # a wrong option: click prints what is legal, and its code is 2
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            raise KeyboardInterrupt from None
        sys.exit(code if isinstance(code, int) else 0)

    sys.exit(process.report_errors(run, debug=len(arguments) < len(sys.argv) - 1))
