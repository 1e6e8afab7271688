"""DVC's lock file, which lists the files in use. A DVC that is killed while writing it blocks every later one.

DVC rewrites the file when a stage starts and ends, so it is empty for a moment twice per stage.
"""

from __future__ import annotations

import json
from pathlib import Path

from ganealogy.errors import GanealogyError

RWLOCK = Path(".dvc/tmp/rwlock")


def is_broken(root: Path) -> bool:
    """Return whether DVC would refuse the lock file of the workspace `root`; an absent one is in order."""
    try:
        json.loads((root / RWLOCK).read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def remove_broken(root: Path) -> bool:
    """Remove a broken lock file. Return whether there was one.

    Raises: GanealogyError while a DVC runs there, which may be writing the file.
    """
    if not is_broken(root):
        return False
    process = running(root)
    if process is not None:
        raise GanealogyError(f"{RWLOCK}: half-written, and DVC runs here as process {process}: try again later")
    (root / RWLOCK).unlink(missing_ok=True)
    return True


def running(root: Path) -> int | None:
    """Return the process id of a DVC that runs in `root` or below, or None."""
    import psutil  # type: ignore[import-untyped]

    place = root.resolve()
    for process in psutil.process_iter():
        try:
            command, where = process.cmdline()[:3], Path(process.cwd())  # python -m dvc, or python …/bin/dvc
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
        if (where == place or place in where.parents) and "dvc" in [Path(part).name for part in command]:
            return int(process.pid)
    return None
