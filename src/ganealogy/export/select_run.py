"""Whose generator is exported and played with."""

from __future__ import annotations

from pathlib import Path

from ganealogy.errors import GanealogyError
from ganealogy.tracking import best_run, run_record
from ganealogy.tracking.best_run import Score
from ganealogy.tracking.run_record import RunRecord
from ganealogy.workspace import ONNX_MODELS, run_dir, run_name


def choose(version: str | None, seed: int | None, root: Path = Path()) -> tuple[RunRecord, Score | None]:
    """The run of a version and seed, or, without either, the one that leads.

    Raises: GanealogyError when one is named without the other, or there is no such run.
    """
    if version is None:
        return best_run.best(root)
    if seed is None:
        raise GanealogyError(f"{version}: of which seed? Name one, such as `{version} 0`, or leave both out")
    run = run_record.read(run_dir(version, seed, root))
    return run, best_run.score(run)


def model_path(run: RunRecord) -> Path:
    return ONNX_MODELS / f"{run_name(run.run['version'], run.run['seed'])}.onnx"
