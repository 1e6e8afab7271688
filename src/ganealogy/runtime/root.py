"""The main workspace. Apart from workspace.py, so that an edit there re-runs no stage that computes."""

from __future__ import annotations

import os
from pathlib import Path


def main_root() -> Path:
    """Return the absolute path of the main workspace, also inside the copy that `dvc exp run --temp` works in."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()
