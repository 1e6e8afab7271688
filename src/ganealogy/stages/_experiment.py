"""What a DVC experiment changes: with the values of the last run it trains nothing, and looks as if it did."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ganealogy.errors import GanealogyError
from ganealogy.lineage.flatten import flatten
from ganealogy.params import schema
from ganealogy.params.schema import WHERE_ONLY, Settings
from ganealogy.workspace import PARAMS

EXPERIMENT = "DVC_EXP_NAME"
"""Environment variable of the stages of `dvc exp run`."""


def note(settings: Settings, lock: Path = Path("dvc.lock")) -> str:
    """Return a line for an experiment whose settings change no result of the last run; else an empty text."""
    if EXPERIMENT not in os.environ:
        return ""
    try:
        recorded = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]["plan"]["params"][str(PARAMS)]
        before = schema.parse(Settings, recorded, str(lock))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, GanealogyError):
        return ""  # the first run, or one of an older Ganealogy
    old, new = (flatten(each.model_dump()) for each in (before, settings))
    changed = [key for key in new | old if new.get(key) != old.get(key)]
    if not set(changed) <= {f"{section}.{key}" for section, keys in WHERE_ONLY.items() for key in keys}:
        return ""
    what = f"every value of {PARAMS} is that of the last run"
    if changed:
        what = f"only {' and '.join(changed)} differ{'s'[: len(changed) == 1]}, which changes no result"
    return (
        f"experiment {os.environ[EXPERIMENT]}: {what}, so unless code or versions changed it trains nothing and its "
        f"numbers are the same; to try another value, run: dvc exp run -S train.lr={2 * settings.train.lr:g}"
    )
