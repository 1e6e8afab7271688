"""Whose generator is exported and played with."""

from __future__ import annotations

from pathlib import Path

from ganealogy.errors import GanealogyError
from ganealogy.tracking import leading, record
from ganealogy.tracking.context import RUNS
from ganealogy.tracking.leading import Score
from ganealogy.tracking.record import RunRecord

MODELS = Path("reports/live")


def choose(version: str | None, seed: int | None, root: Path = Path()) -> tuple[RunRecord, Score | None]:
    """The run of a version and seed, or, without either, the one that leads.

    Raises: GanealogyError when one is named without the other, or there is no such run.
    """
    if version is None:
        return leading.best(root)
    if seed is None:
        raise GanealogyError(f"{version}: of which seed? Name one, such as `{version} 0`, or leave both out")
    run = record.read(root / RUNS / f"{version}-{seed}")
    return run, leading.score(run)


def model_path(run: RunRecord) -> Path:
    return MODELS / f"{run.run['version']}-{run.run['seed']}.onnx"
