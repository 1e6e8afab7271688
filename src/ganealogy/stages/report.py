"""The report stage: compare the versions in reports/."""

from __future__ import annotations

import sys
from pathlib import Path

from ganealogy.stages import _stage
from ganealogy.workspace import RUNS


def run() -> Path:
    """Return the path of the page."""
    from ganealogy.report import build
    from ganealogy.report.collect import prune
    from ganealogy.tracking.run_links import run_links

    for name in prune():  # before the inputs are read: DVC leaves the runs of versions that are no longer listed
        kept = "its runs are kept in the store"
        print(f"ganealogy: removed {RUNS / name}, which the plan does not list; {kept}", file=sys.stderr)
    with _stage.run_stage("report"):
        return build.build(run_links=run_links)
