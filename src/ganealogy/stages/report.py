"""The report stage: compare the versions in reports/."""

from __future__ import annotations

from pathlib import Path

from ganealogy.stages import _stage


def run() -> Path:
    """Return the path of the page."""
    from ganealogy.report import build
    from ganealogy.report.collect import prune
    from ganealogy.tracking.run_links import run_links

    prune()  # before the inputs are read: DVC leaves the runs of versions that are no longer listed
    with _stage.run_stage("report"):
        return build.build(run_links=run_links)
