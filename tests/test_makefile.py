"""The Makefile's targets that no other test runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from helpers.pipeline import ROOT, Workspace


def test_the_fast_tests_are_most_of_the_unit_tests(tmp_path: Path) -> None:
    """Collected, not run: each of them runs in this suite too."""
    workspace = Workspace(ROOT)
    shown = workspace.run("make", "-n", "test-fast", "--assume-old", ".venv/.ready").stdout
    (arguments,) = re.findall(r"-m pytest .*? -m '(?:.+?)' (.+)", shown)
    folders = arguments.split()
    assert all((ROOT / folder).exists() for folder in folders)
    listed = workspace.run(
        sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow and not soak", *folders
    )
    assert int(re.findall(r"(\d+)(?:/\d+)? tests collected", listed.stdout)[0]) > 500
