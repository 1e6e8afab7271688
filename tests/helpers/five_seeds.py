"""A small tree with five seeds per version, for tests of verdicts: made, changed and reduced by these functions."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.fake_runs import metrics_json, run_json, write_run

from ganealogy.params import schema
from ganealogy.workspace import run_dir

VALUES = {"v1": 200.0, "v3": 150.0, "v5": 152.0, "v7": 900.0}
"""Version → the metric's geometric centre over seeds."""
SPREAD = (0.97, 0.99, 1.0, 1.01, 1.03)
"""Factors of the five seeds."""
FACTORS = {name: SPREAD[at:] + SPREAD[:at] for at, name in enumerate(VALUES)}
"""Version → factors by seed: rotated, so that the pairs of two versions differ over seeds."""
METRIC = "fd_pixel8"


def make_tree(root: Path) -> Path:
    """Make v1 → v3 → v5 and v1 → v7: v3 is better, v5 about equal, v7 worse and behind the gate."""
    parents = [("v1", None), ("v3", "v1"), ("v5", "v3"), ("v7", "v1")]
    entries = [
        {"name": name, "parent": parent, "listed": True, "recipe": {}, "changes": {}} for name, parent in parents
    ]
    evaluate = {"extractors": ["pixel8"], "lead": "fd_pixel8", "reals": 2000, "equivalence_margin": 0.1}
    write(root / "build/plan/tree.json", {"versions": entries, "protocol": {"tracker": "pixel8"}, "evaluate": evaluate})
    plan_seeds(root, [0, 1, 2, 3, 4])
    write(root / "data/reference/anchors.json", {"metrics": {METRIC: {"mean_image": 500.0, "rep25": 473.0}}})
    for version in VALUES:
        for seed, factor in enumerate(FACTORS[version]):
            add_run(root, version, seed, factor)
    return root


def plan_seeds(root: Path, seeds: list[int], **more_seeds: list[int]) -> None:
    """Write params.yaml with these seeds, and give each version of the plan its own."""
    tree = {"versions": list(VALUES), "seeds": seeds, "more_seeds": more_seeds}
    train = {"kimg": 1, "batch_size": 8, "lr": 0.001}
    write(root / "params.yaml", {"dataset": {"name": "avatars", "image_size": 32}, "tree": tree, "train": train})
    seeds_of = schema.load(root / "params.yaml").tree.seeds_of
    versions = json.loads((root / "build/plan/tree.json").read_text())["versions"]
    edit_tree(root, versions=[entry | {"seeds": seeds_of(entry["name"])} for entry in versions])


def add_run(root: Path, version: str, seed: int, factor: float) -> None:
    """Add a run whose metric is `factor` times the version's centre."""
    metrics = metrics_json(version, seed, metrics={METRIC: VALUES[version] * factor})
    write_run(run_dir(version, seed, root), run_json(version, seed), metrics=metrics)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def remove_metrics(root: Path, version: str, seed: int) -> None:
    (run_dir(version, seed, root) / "evaluate/metrics.json").unlink()


def edit_tree(root: Path, **changes: object) -> None:
    path = root / "build/plan/tree.json"
    write(path, json.loads(path.read_text()) | changes)
