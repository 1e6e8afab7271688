"""DVC's list of busy files. A DVC that is killed while it writes the list leaves half of it, and every later one stops.

DVC opens it anew at each stage's beginning and end, so that the file is empty for a moment twice a stage.
"""

from __future__ import annotations

import json
from pathlib import Path

from ganealogy.errors import GanealogyError

RWLOCK = Path(".dvc/tmp/rwlock")


def is_damaged(root: Path) -> bool:
    """Whether DVC would refuse the list of the workspace `root`; one that is absent or whole it takes."""
    try:
        json.loads((root / RWLOCK).read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def remove_broken(root: Path) -> bool:
    """Remove a damaged list; returns whether there was one.

    Raises: GanealogyError while a DVC runs there: its own entry was in the list, or it is writing it right now.
    """
    if not is_damaged(root):
        return False
    process = running(root)
    if process is not None:
        raise GanealogyError(f"{RWLOCK}: half-written, and DVC runs here as process {process}: try again when it ended")
    (root / RWLOCK).unlink(missing_ok=True)
    return True


def running(root: Path) -> int | None:
    """The process id of a DVC that works in `root` or below; None where there is none."""
    import psutil  # type: ignore[import-untyped]

    place = root.resolve()
    for process in psutil.process_iter():
        try:
            command, where = process.cmdline()[:3], Path(process.cwd())  # python -m dvc, or python …/bin/dvc
        except (psutil.Error, OSError):
            continue  # it ended, or is another person's
        if (where == place or place in where.parents) and "dvc" in [Path(part).name for part in command]:
            return int(process.pid)
    return None
