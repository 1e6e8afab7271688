"""Run the command line: `python src/ganealogy STAGE`, as dvc.yaml does, or `python -m ganealogy`.

The first form takes the code of the workspace that it is typed in, on every system, in a copy that `dvc exp run --temp`
works in, too: an installed package would be the main workspace's. Neither form imports from the current directory: a
`random.py` or `torch.py` there would replace the library of that name.
"""

import os
import sys
from pathlib import Path

if not __package__:  # run as a folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    paths = [sys.path[0], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
elif sys.path[0] == str(Path.cwd()):
    del sys.path[0]
os.environ["PYTHONSAFEPATH"] = "1"  # with PYTHONPATH, for the processes that this one starts

from ganealogy.runtime import memory


def main() -> None:
    """Run the command line."""
    memory.collect_rarely()
    from ganealogy.cli import main as cli

    cli.main()


if __name__ == "__main__":
    main()
