"""A tree of any versions with their distances, as plan and runs without pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.fabricated import write
from helpers.fake_runs import cost_json, metrics_json, run_json, write_run

from ganealogy.workspace import run_dir

METRIC = "fd_pixel8"
SEEDS = (0.97, 0.99, 1.0, 1.01, 1.03)
"""Factors of the first five seeds; they repeat."""


def version(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    """An entry of tree.json."""
    return {
        "name": name,
        "title": f"The idea of {name}",
        "parent": parents[0] if parents else None,
        "parents": list(parents),
        "listed": True,
        "recipe": {},
        "changes": {},
        **more,
    }


def make(
    root: Path, entries: Sequence[dict[str, Any]], values: Mapping[str, Sequence[float]], digest: str = "2"
) -> Path:
    """Write plan, manifest, anchors, params.yaml and a run per value. `digest`: a letter, of the pictures."""
    entries = [{"seeds": list(range(len(values[each["name"]]))), **each} for each in entries]
    tree = {
        "versions": entries,
        "dataset": {"name": "avatars", "image_size": 32, "channels": 3},
        "protocol": {"kimg": 1.0, "batch_size": 8, "lr": 0.001, "tracker": "pixel8"},
        "evaluate": {"extractors": ["pixel8"], "lead": METRIC, "reals": 2000, "equivalence_margin": 0.1},
    }
    write(root / "build/plan/tree.json", tree)
    write(root / "data/packed/manifest.json", {"title": "Faces", "image_size": 32, "dataset": digest * 64})
    write(root / "data/reference/anchors.json", {"metrics": {METRIC: {"mean_image": 500.0, "rep25": 473.0}}})
    names = [each["name"] for each in entries]
    shared = min(len(values[name]) for name in names)
    more = {name: list(range(shared, len(values[name]))) for name in names if len(values[name]) > shared}
    listed = {"versions": names, "seeds": list(range(shared)), "more_seeds": more}
    train = {"kimg": 1, "batch_size": 8, "lr": 0.001}
    write(root / "params.yaml", {"dataset": tree["dataset"], "tree": listed, "train": train})
    for name in names:
        for seed, value in enumerate(values[name]):
            metrics = metrics_json(name, seed, metrics={METRIC: value})
            run = {**run_json(name, seed), "data": digest * 64}
            write_run(run_dir(name, seed, root), run, metrics=metrics, cost=cost_json())
    return root


def around(centre: float, seeds: int = 5, turn: int = 0) -> list[float]:
    """Distances of seeds around a centre. `turn` rotates them, so that the pairs of two versions differ."""
    return [centre * SEEDS[(seed + turn) % len(SEEDS)] for seed in range(seeds)]
