"""A small tree with five seeds per version, for tests of verdicts: made, changed and reduced by these functions."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.fake_runs import metrics_json, run_json, write_run

VALUES = {"v1": 200.0, "v3": 150.0, "v5": 152.0, "v7": 900.0}
"""Version → the metric's geometric centre over seeds."""
SPREAD = (0.97, 0.99, 1.0, 1.01, 1.03)
"""Factors of the five seeds."""
METRIC = "fd_pixel8"


def make_tree(root: Path) -> Path:
    """Make v1 → v3 → v5 and v1 → v7: v3 is better, v5 about equal, v7 worse than the mean image."""
    parents = [("v1", None), ("v3", "v1"), ("v5", "v3"), ("v7", "v1")]
    entries = [
        {"name": name, "parent": parent, "listed": True, "recipe": {}, "changes": {}} for name, parent in parents
    ]
    evaluate = {"extractors": ["pixel8"], "reals": 2000, "equivalence_margin": 0.1}
    tree = {"versions": entries, "seeds": [0, 1, 2, 3, 4], "protocol": {"tracker": "pixel8"}, "evaluate": evaluate}
    write(root / "build/plan/tree.json", tree)
    write(root / "data/reference/anchors.json", {"metrics": {METRIC: {"mean_image": 473.0}}})
    for version, value in VALUES.items():
        for seed, factor in enumerate(SPREAD):
            run = root / f"build/runs/{version}-{seed}"
            write_run(
                run, run_json(version, seed), metrics=metrics_json(version, seed, metrics={METRIC: value * factor})
            )
    return root


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def remove_metrics(root: Path, run: str) -> None:
    (root / f"build/runs/{run}/evaluate/metrics.json").unlink()


def edit_tree(root: Path, **changes: object) -> None:
    path = root / "build/plan/tree.json"
    write(path, json.loads(path.read_text()) | changes)
