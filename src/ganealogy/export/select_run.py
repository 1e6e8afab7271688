"""Select the run whose generator is exported."""

from __future__ import annotations

from pathlib import Path

from ganealogy.errors import GanealogyError
from ganealogy.tracking import best_run, run_record
from ganealogy.tracking.best_run import Score
from ganealogy.tracking.run_record import RunRecord
from ganealogy.workspace import ONNX_MODELS, run_dir, run_name


def choose(version: str | None, seed: int | None, root: Path = Path()) -> tuple[RunRecord, Score | None]:
    """Return the run of a version and seed, or else the best run, with its score.

    Raises: GanealogyError if there is no such run, or a version is given without a seed.
    """
    if version is None:
        return best_run.best(root)
    if seed is None:
        raise GanealogyError(f"{version}: which seed? Name one, such as `{version} 0`, or omit both for the best run")
    run = run_record.read(run_dir(version, seed, root))
    return run, best_run.score(run)


def model_path(run: RunRecord) -> Path:
    """Return the default path of the run's ONNX file, relative to the workspace."""
    return ONNX_MODELS / f"{run_name(run.run['version'], run.run['seed'])}.onnx"
